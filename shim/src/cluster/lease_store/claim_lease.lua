-- Claims the first free node id of a list, or confirms the one already held by this incarnation. A lease id that was
-- fenced never holds a lease again.
-- KEYS leases nodes data_epoch fenced reaped  ARGV incarnation lease-ms fresh-epoch node...  → {node or 0, data epoch}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('SET', KEYS[3], ARGV[3], 'NX')
local epoch = redis.call('GET', KEYS[3])
for i = 4, #ARGV do
  local lease_id = ARGV[i] .. '.' .. ARGV[1]
  local holder = redis.call('HGET', KEYS[2], ARGV[i])
  local fenced = redis.call('ZSCORE', KEYS[4], lease_id) or redis.call('ZSCORE', KEYS[5], lease_id)
  if not fenced and (not holder or holder == lease_id) then
    redis.call('HSET', KEYS[2], ARGV[i], lease_id)
    redis.call('ZADD', KEYS[1], now + ARGV[2], lease_id)
    return {tonumber(ARGV[i]), epoch}
  end
end
return {0, epoch}
