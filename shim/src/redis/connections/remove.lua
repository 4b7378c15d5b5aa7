-- Deletes a record for exactly one caller.
--
-- KEYS  1 record   2 last removed record (same slot)
-- ARGV  1 token of the caller   2 retention of the removed record, in ms
-- Returns the record, or nothing. A caller that lost the reply repeats the call with the same token and gets the record
-- again.
local record = redis.call('GET', KEYS[1])
if record then
  redis.call('DEL', KEYS[1])
  redis.call('SET', KEYS[2], ARGV[1] .. ' ' .. record, 'PX', ARGV[2])
  return record
end
local removed = redis.call('GET', KEYS[2])
if removed and string.sub(removed, 1, #ARGV[1] + 1) == ARGV[1] .. ' ' then
  return string.sub(removed, #ARGV[1] + 2)
end
return false
