-- Takes a record away, for exactly one caller.
--
-- KEYS  1 record   2 what was taken last (same slot)
-- ARGV  1 the caller's own token   2 how long the taken record is remembered, in ms
-- Answers the record, or nothing. A caller whose answer was lost asks again with the same token and gets it again.
local record = redis.call('GET', KEYS[1])
if record then
  redis.call('DEL', KEYS[1])
  redis.call('SET', KEYS[2], ARGV[1] .. ' ' .. record, 'PX', ARGV[2])
  return record
end
local taken = redis.call('GET', KEYS[2])
if taken and string.sub(taken, 1, #ARGV[1] + 1) == ARGV[1] .. ' ' then
  return string.sub(taken, #ARGV[1] + 2)
end
return false
