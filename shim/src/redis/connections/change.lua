-- Joins and leaves channels atomically. The record is authoritative; the caller updates the indices afterwards.
--
-- KEYS  1 record
-- ARGV  1 records of connections opened at or before this time have expired (ms)   2 maximum number of channels
--       3 number of channels to join   … channels to join   … channels to leave
-- Returns the record before and after the change; the record alone, unchanged, when it would exceed the maximum; or
-- nothing when there is no record. A record ends with its list of channels, which are strings without escapes
-- (`RedisConnectionRecord` in record.rs). It is edited as text, because a JSON library would not preserve numbers and
-- empty lists.
local record = redis.call('GET', KEYS[1])
if not record then
  return false
end
if tonumber(string.match(record, '"at":(%-?%d+)')) <= tonumber(ARGV[1]) then
  return false
end
local head, list = string.match(record, '^(.*"channels":%[)(.*)%]}$')
local joined = {}
local max_channels = 0
for channel in string.gmatch(list, '"([^"]+)"') do
  joined[channel] = true
  max_channels = max_channels + 1
end
max_channels = math.max(max_channels, tonumber(ARGV[2]))
local joins = tonumber(ARGV[3])
for index = 4, #ARGV do
  joined[ARGV[index]] = index < 4 + joins or nil
end
local names = {}
for channel in pairs(joined) do
  names[#names + 1] = '"' .. channel .. '"'
end
if #names > max_channels then
  return {record}
end
table.sort(names)
local changed = head .. table.concat(names, ',') .. ']}'
if changed ~= record then
  redis.call('SET', KEYS[1], changed, 'KEEPTTL')
end
return {record, changed}
