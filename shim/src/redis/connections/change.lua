-- Joins and leaves channels in one step. The record alone decides; the indices follow it.
--
-- KEYS  1 record
-- ARGV  1 a record that began then or earlier has ended (ms)   2 how many channels to join   … those   … those to leave
-- Answers the record as it is then, or nothing. A record ends with its list of channels, each of which is plain text
-- (`Record` in record.rs): it is taken apart and put together here without a JSON parser, which would not give back numbers
-- and empty lists as they were.
local record = redis.call('GET', KEYS[1])
if not record then
  return false
end
if tonumber(string.match(record, '"at":(%-?%d+)')) <= tonumber(ARGV[1]) then
  return false
end
local head, list = string.match(record, '^(.*"channels":%[)(.*)%]}$')
local joined = {}
for channel in string.gmatch(list, '"([^"]+)"') do
  joined[channel] = true
end
local joins = tonumber(ARGV[2])
for place = 3, #ARGV do
  joined[ARGV[place]] = place < 3 + joins or nil
end
local names = {}
for channel in pairs(joined) do
  names[#names + 1] = '"' .. channel .. '"'
end
table.sort(names)
local changed = head .. table.concat(names, ',') .. ']}'
if changed ~= record then
  redis.call('SET', KEYS[1], changed, 'KEEPTTL')
end
return changed
