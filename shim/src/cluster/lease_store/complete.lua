-- Removes completed connections of a fenced pod from a reaping pod's batch. After the last one the pod is removed and its
-- node id becomes free. A batch that was lost with its pod stops blocking this after retention-ms. The lease id stays
-- known for retention-ms, so that a pod that hung for so long does not take its lease for one lost in a failover.
-- KEYS own-reaping pending fenced nodes dead-connections dead-reaping reaped  ARGV dead-lease-id node retention-ms field...
-- → 1 when the pod is removed
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local removed = 0
for i = 4, #ARGV do
  removed = removed + redis.call('HDEL', KEYS[1], ARGV[i])
end
if removed > 0 then
  redis.call('HINCRBY', KEYS[2], ARGV[1], -removed)
end
local fenced_at = redis.call('ZSCORE', KEYS[3], ARGV[1])
if not fenced_at then
  return 1
end
local pending = tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or '0')
local abandoned = now - fenced_at > tonumber(ARGV[3])
if redis.call('EXISTS', KEYS[5], KEYS[6]) > 0 or (pending > 0 and not abandoned) then
  return 0
end
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[7], '-inf', now - ARGV[3])
redis.call('ZADD', KEYS[7], now, ARGV[1])
redis.call('PEXPIRE', KEYS[7], ARGV[3])
redis.call('HDEL', KEYS[2], ARGV[1])
if redis.call('HGET', KEYS[4], ARGV[2]) == '-' .. ARGV[1] then
  redis.call('HDEL', KEYS[4], ARGV[2])
end
return 1
