-- Takes a lapsed lease away for good: its holder learns it at its next heartbeat. The number stays taken, marked by '-'.
-- KEYS leases fenced nodes  ARGV name node  → 1, or 0 when there is no such lapsed lease (any more)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local expiry = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not expiry or tonumber(expiry) > now then
  return 0
end
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('ZADD', KEYS[2], now, ARGV[1])
if redis.call('HGET', KEYS[3], ARGV[2]) == ARGV[1] then
  redis.call('HSET', KEYS[3], ARGV[2], '-' .. ARGV[1])
end
return 1
