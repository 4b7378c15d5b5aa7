-- Extends a lease that is still held, lapsed or not, and tells how the others are.
-- KEYS leases fenced epoch sessions reaping  ARGV name lease-ms keep-ms limit
-- → {1 if held, epoch or '', lapsed names, fenced names, leases that have not lapsed}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = redis.call('ZSCORE', KEYS[1], ARGV[1])
if held then
  -- A full server refuses a script's first write if that may take memory, and no later one: leases last there, too.
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
