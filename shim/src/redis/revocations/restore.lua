-- Writes a revocation or a withdrawal that Redis has lost, unless a later one is present.
-- KEYS: revocation. ARGV: issued before, expires at (ms), version, time to live (ms). Returns whether it was written.
local present = redis.call('GET', KEYS[1])
if present and tonumber(string.match(present, '^%S+ %S+ (%d+)$') or 0) >= tonumber(ARGV[3]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. ARGV[2] .. ' ' .. ARGV[3], 'PX', ARGV[4])
return 1
