-- Replaces a revocation by a withdrawal, which is kept as long: a server that still knows the revocation must not restore
-- it. A repeated call writes the withdrawal again, so that its caller can wait for replicas.
-- KEYS: revocation. ARGV: lowest version. Returns whether there was a revocation, the version, and the time to live (ms).
local present = redis.call('GET', KEYS[1])
if not present then return {0, 0, 0} end
local expires, known = string.match(present, '^%S+ (%S+) ?(%d*)$')
local version = tonumber(ARGV[1])
known = tonumber(known) or 0
if known >= version then version = known + 1 end
local ttl = math.max(redis.call('PTTL', KEYS[1]), 1)
redis.call('SET', KEYS[1], string.format('0 0 %.0f', version), 'PX', ttl)
return {expires ~= '0' and 1 or 0, version, ttl}
