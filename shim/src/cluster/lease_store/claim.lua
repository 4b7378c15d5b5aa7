-- Takes the first free node number of a list, or keeps the one that is already held under this name.
-- KEYS leases nodes epoch  ARGV boot lease-ms fresh-epoch node...  → {node or 0, epoch}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('SET', KEYS[3], ARGV[3], 'NX')
local epoch = redis.call('GET', KEYS[3])
for i = 4, #ARGV do
  local name = ARGV[i] .. '.' .. ARGV[1]
  local owner = redis.call('HGET', KEYS[2], ARGV[i])
  if not owner or owner == name then
    redis.call('HSET', KEYS[2], ARGV[i], name)
    redis.call('ZADD', KEYS[1], now + ARGV[2], name)
    return {tonumber(ARGV[i]), epoch}
  end
end
return {0, epoch}
