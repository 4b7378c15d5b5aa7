-- Extends a lease that is still held, expired or not, and returns the state of all leases.
-- KEYS leases fenced data_epoch connections reaping  ARGV lease-id lease-ms retention-ms limit
-- → {1 if held, data epoch or '', expired lease ids, fenced lease ids, number of leases that have not expired}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = redis.call('ZSCORE', KEYS[1], ARGV[1])
if held then
  -- A server at maxmemory may reject the first write of a script, but none after it. PEXPIRE needs no memory, so leases
  -- are extended there too.
  redis.call('PEXPIRE', KEYS[4], ARGV[3])
  redis.call('PEXPIRE', KEYS[5], ARGV[3])
  redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
end
return {
  held and 1 or 0,
  redis.call('GET', KEYS[3]) or '',
  redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[4]),
  redis.call('ZRANGE', KEYS[2], 0, ARGV[4] - 1),
  redis.call('ZCOUNT', KEYS[1], now, '+inf')
}
