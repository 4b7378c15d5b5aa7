-- Gives a lease back. With connections left it lapses at once instead, so that others finish them.
-- KEYS leases nodes sessions reaping  ARGV name node  → 0 not held, 1 given back, 2 lapsed
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then
  return 0
end
if redis.call('EXISTS', KEYS[3], KEYS[4]) > 0 then
  -- A full server refuses no write behind a deletion.
  redis.call('ZADD', KEYS[1], 0, ARGV[1])
  return 2
end
if redis.call('HGET', KEYS[2], ARGV[2]) == ARGV[1] then
  redis.call('HDEL', KEYS[2], ARGV[2])
end
return 1
