-- Writes messages of another store at the offsets that they have, with the epoch that clients know them by.
--
-- KEYS  1 entries (stream)   2 ends (hash: epoch, head, first, first_at, lineage)   3 ids (hash: sender and id -> "offset sent_at")
-- ARGV  1 epoch   2 whether another master means another epoch (1 or 0)   3 the offset behind which the messages stand
--       4 how long the keys live without an append, in ms   5... for each message: offset, sent_at, user, role, id, body
-- Answers 'done', 'epoch' (the log has messages of another one) or 'hole' (it ends before these begin).
local ends = redis.call('HMGET', KEYS[2], 'epoch', 'head', 'first', 'first_at', 'lineage')
local head, first_at = tonumber(ends[2] or 0), ends[4]
local lineage = ''
if ARGV[2] == '1' then
  lineage = string.sub(string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)') or '', 1, 12)
end

local begins = head == 0
if begins then
  head = tonumber(ARGV[3])
else
  local told = ends[1]
  if ARGV[2] == '1' and lineage ~= ends[5] then
    told = told .. '-' .. lineage
  end
  if told ~= ARGV[1] then
    return 'epoch'
  end
end
local start = 5
while ARGV[start] and tonumber(ARGV[start]) <= head do
  start = start + 6
end
if tonumber(ARGV[start] or ARGV[3]) > head + (ARGV[start] and 1 or 0) then
  return 'hole'
end

-- The first write is one that a full server refuses, so that it refuses all or nothing.
local last = string.format('%.0f', head)
if ARGV[start] then
  last = ARGV[#ARGV - 5]
end
redis.call('HSET', KEYS[2], 'head', last)
if begins then
  -- As long as this master is not replaced the epoch is told as it came.
  redis.call('HSET', KEYS[2], 'epoch', ARGV[1], 'lineage', lineage, 'first', string.format('%.0f', head + 1))
  redis.call('HDEL', KEYS[2], 'first_at')
  redis.call('DEL', KEYS[1], KEYS[3])
  first_at = false
end
for place = start, #ARGV, 6 do
  local offset, sent_at, user, role, id = ARGV[place], ARGV[place + 1], ARGV[place + 2], ARGV[place + 3], ARGV[place + 4]
  redis.call('XADD', KEYS[1], offset .. '-0', 't', sent_at, 'u', user, 'r', role, 'i', id, 'b', ARGV[place + 5])
  redis.call('HSET', KEYS[3], role .. '/' .. user .. '/' .. id, offset .. ' ' .. sent_at)
  if not first_at then
    first_at = sent_at
    redis.call('HSET', KEYS[2], 'first_at', sent_at)
  end
end
for _, key in ipairs(KEYS) do
  redis.call('PEXPIRE', key, ARGV[4])
end
return 'done'
