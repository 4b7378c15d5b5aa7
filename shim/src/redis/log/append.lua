-- Appends one message, or finds where it was appended before. Everything of a channel is in one slot.
--
-- KEYS  1 entries (stream)   2 ends (hash: epoch, head, first, first_at, lineage: see import.lua)   3 ids (hash: sender and id -> "offset sent_at")
-- ARGV  1 epoch of a new log   2 whether another master means another epoch (1 or 0)   3 sent_at   4 user   5 role   6 id
--       7 body   8 most entries   9 sent_at of what is too old   10 how long the keys live without an append, in ms
-- Answers {epoch, offset, sent_at, whether it was there before (1 or 0)}.
local ends = redis.call('HMGET', KEYS[2], 'epoch', 'head', 'first', 'first_at', 'lineage')
local epoch, head, first, first_at = ends[1], tonumber(ends[2] or 0), tonumber(ends[3] or 1), tonumber(ends[4])
local lineage = ''
if ARGV[2] == '1' then
  lineage = string.sub(string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)') or '', 1, 12)
  lineage = lineage == ends[5] and '' or '-' .. lineage
end

local field = ARGV[5] .. '/' .. ARGV[4] .. '/' .. ARGV[6]
local known = head > 0 and redis.call('HGET', KEYS[3], field)
if known then
  local offset, sent_at = string.match(known, '^(%d+) (.+)$')
  return { epoch .. lineage, offset, sent_at, 1 }
end

-- The first write is one that a full server refuses, so that it refuses all or nothing.
local offset = string.format('%.0f', head + 1)
redis.call('HSET', KEYS[2], 'epoch', epoch or ARGV[1], 'head', offset)
if head == 0 then
  -- What a lost log may have left behind does not belong to the new one.
  redis.call('DEL', KEYS[1], KEYS[3])
end
redis.call('XADD', KEYS[1], offset .. '-0', 't', ARGV[3], 'u', ARGV[4], 'r', ARGV[5], 'i', ARGV[6], 'b', ARGV[7])
redis.call('HSET', KEYS[3], field, offset .. ' ' .. ARGV[3])
if not first_at then
  first, first_at = head + 1, tonumber(ARGV[3])
end

-- Retention: two go where one came, so that an append's work is bounded and a backlog shrinks.
local most, too_old = tonumber(ARGV[8]), tonumber(ARGV[9])
if head + 2 - first > most or first_at < too_old then
  local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 3)
  for place, entry in ipairs(oldest) do
    local fields = entry[2]
    first, first_at = tonumber(string.match(entry[1], '^%d+')), tonumber(fields[2])
    if place == #oldest or (head + 2 - first <= most and first_at >= too_old) then
      break
    end
    redis.call('HDEL', KEYS[3], fields[6] .. '/' .. fields[4] .. '/' .. fields[8])
  end
  redis.call('XTRIM', KEYS[1], 'MINID', string.format('%.0f-0', first))
end
redis.call('HSET', KEYS[2], 'first', string.format('%.0f', first), 'first_at', string.format('%.0f', first_at))

for _, key in ipairs(KEYS) do
  redis.call('PEXPIRE', key, ARGV[10])
end
return { (epoch or ARGV[1]) .. lineage, offset, ARGV[3], 0 }
