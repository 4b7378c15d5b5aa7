-- Joins and leaves channels in one step. The record alone decides; the indices follow it.
--
-- KEYS  1 record
-- ARGV  1 a record that began then or earlier has ended (ms)   2 most channels   3 how many to join   … those   … those to leave
-- Answers the record as it was and as it is then; as it is alone, when it would have more than the most and nothing changes;
-- or nothing. A record ends with its list of channels, each of which is plain text
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
local most = 0
for channel in string.gmatch(list, '"([^"]+)"') do
  joined[channel] = true
  most = most + 1
end
most = math.max(most, tonumber(ARGV[2]))
local joins = tonumber(ARGV[3])
for place = 4, #ARGV do
  joined[ARGV[place]] = place < 4 + joins or nil
end
local names = {}
for channel in pairs(joined) do
  names[#names + 1] = '"' .. channel .. '"'
end
if #names > most then
  return {record}
end
table.sort(names)
local changed = head .. table.concat(names, ',') .. ']}'
if changed ~= record then
  redis.call('SET', KEYS[1], changed, 'KEEPTTL')
end
return {record, changed}
