-- Extends a lease that is still held, expired or not, and returns the state of all leases.
-- KEYS leases fenced data_epoch connections reaping reaped  ARGV lease-id lease-ms retention-ms limit
-- → {1 held, 2 fenced, 0 neither: lost in a failover, data epoch or '', expired lease ids, fenced lease ids,
--    number of leases that have not expired, replication id of the master}
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local status = 0
if redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  -- A server at maxmemory may reject the first write of a script, but none after it. PEXPIRE needs no memory, so leases
  -- are extended there too.
  redis.call('PEXPIRE', KEYS[4], ARGV[3])
  redis.call('PEXPIRE', KEYS[5], ARGV[3])
  redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
  status = 1
elseif redis.call('ZSCORE', KEYS[2], ARGV[1]) or redis.call('ZSCORE', KEYS[6], ARGV[1]) then
  status = 2
end
return {
  status,
  redis.call('GET', KEYS[3]) or '',
  redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[4]),
  redis.call('ZRANGE', KEYS[2], 0, ARGV[4] - 1),
  redis.call('ZCOUNT', KEYS[1], now, '+inf'),
  string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)') or ''
}
