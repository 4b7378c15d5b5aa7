-- Reads the ends of a log and a stretch of its entries, at one moment.
--
-- KEYS  1 entries (stream)   2 ends (hash: epoch, head, first, lineage: see import.lua)
-- ARGV  1 epoch of a new log   2 whether another master means another epoch (1 or 0)   3 'up' or 'down'
--       4 the id to begin at, '+' for the end   5 most entries, 0 for the ends alone   6 most bytes of bodies
--       7 how long the ends of a log without entries live, in ms
-- Answers {epoch, head, first, {{id, fields}, ...} in the order of reading}.
local ends = redis.call('HMGET', KEYS[2], 'epoch', 'head', 'first', 'lineage')
local epoch, head = ends[1], ends[2] or '0'
local first = ends[3] or '1'
if not epoch then
  epoch = ARGV[1]
  -- Told now, the epoch must be the one that the first append finds. A full or reading-only server keeps nothing: then a
  -- reader of an empty log is told of a gap later that is none.
  redis.pcall('HSETNX', KEYS[2], 'epoch', epoch)
end
if head == '0' then
  redis.pcall('PEXPIRE', KEYS[2], ARGV[7])
end
if ARGV[2] == '1' then
  local lineage = string.sub(string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)') or '', 1, 12)
  if lineage ~= ends[4] then
    epoch = epoch .. '-' .. lineage
  end
end

local found, limit, room = {}, tonumber(ARGV[5]), tonumber(ARGV[6])
local start, upwards = ARGV[4], ARGV[3] == 'up'
while #found < limit do
  -- A few at a time, so that long bodies that do not fit are not read in vain.
  local count = math.min(8, limit - #found)
  local some
  if upwards then
    some = redis.call('XRANGE', KEYS[1], start, '+', 'COUNT', count)
  else
    some = redis.call('XREVRANGE', KEYS[1], start, '-', 'COUNT', count)
  end
  for _, entry in ipairs(some) do
    room = room - #entry[2][10]
    if room < 0 and #found > 0 then
      return { epoch, head, first, found }
    end
    found[#found + 1] = entry
  end
  if #some < count then
    break
  end
  start = '(' .. some[#some][1]
end
return { epoch, head, first, found }
