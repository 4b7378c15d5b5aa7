-- Writes a revocation with a version higher than that of the present one.
-- KEYS: revocation. ARGV: issued before, expires at (ms), lowest version, time to live (ms). Returns the version.
local present = redis.call('GET', KEYS[1])
local version = tonumber(ARGV[3])
if present then
  local known = tonumber(string.match(present, '^%S+ %S+ (%d+)$') or 0)
  if known >= version then version = known + 1 end
end
redis.call('SET', KEYS[1], string.format('%s %s %.0f', ARGV[1], ARGV[2], version), 'PX', ARGV[4])
return version
