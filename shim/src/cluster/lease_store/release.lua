-- Releases a lease. If connections are registered, the lease expires at once instead, so that other pods reap them.
-- KEYS leases nodes connections reaping  ARGV lease-id node  → 0 not held, 1 released, 2 expired
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then
  return 0
end
if redis.call('EXISTS', KEYS[3], KEYS[4]) > 0 then
  -- A server at maxmemory rejects no write that follows a deletion in the same script.
  redis.call('ZADD', KEYS[1], 0, ARGV[1])
  return 2
end
if redis.call('HGET', KEYS[2], ARGV[2]) == ARGV[1] then
  redis.call('HDEL', KEYS[2], ARGV[2])
end
return 1
