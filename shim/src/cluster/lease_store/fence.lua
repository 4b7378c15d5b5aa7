-- Fences a pod: deletes its expired lease for good. The pod notices at its next heartbeat. Its node id stays in use,
-- marked by a leading '-'.
-- KEYS leases fenced nodes  ARGV lease-id node  → 1, or 0 when there is no such expired lease
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
