-- Appends one message, or finds its earlier append. All keys of a channel are in one slot.
--
-- KEYS  1 entries (stream)   2 bounds (hash: epoch, head, first, first_at, lineage: see import.lua)
--       3 ids (hash: sender and id -> "offset sent_at")   4 epoch of the store (string)
-- ARGV  1 epoch of a new store   2 1 if the epoch depends on the master, else 0   3 sent_at   4 user   5 role   6 id
--       7 body   8 maximum number of entries   9 minimum sent_at of retained entries
--       10 lifetime of the keys without an append, in ms   11 period of the epoch of a log without an append
-- Returns {epoch, offset, sent_at, 1 if the message was appended before, else 0}.
local bounds = redis.call('HMGET', KEYS[2], 'epoch', 'head', 'first', 'first_at', 'lineage')
local epoch, head, first, first_at = bounds[1], tonumber(bounds[2] or 0), tonumber(bounds[3] or 1), tonumber(bounds[4])
local lineage = ''
if ARGV[2] == '1' then
  lineage = string.sub(string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)') or '', 1, 12)
  lineage = lineage == bounds[5] and '' or '-' .. lineage
end

local field = ARGV[5] .. '/' .. ARGV[4] .. '/' .. ARGV[6]
local appended = head > 0 and redis.call('HGET', KEYS[3], field)
if appended then
  local offset, sent_at = string.match(appended, '^(%d+) (.+)$')
  -- `WAIT` covers the writes of a connection. The earlier append was that of another one, and no replica may have it yet.
  for index = 1, 3 do
    redis.call('PEXPIRE', KEYS[index], ARGV[10])
  end
  return { epoch .. lineage, offset, sent_at, 1 }
end

-- The first write is one that a server at maxmemory rejects, so that the script writes all or nothing.
local offset = string.format('%.0f', head + 1)
if not epoch then
  -- The epoch that readers of the empty log got.
  local store = redis.call('GET', KEYS[4])
  if not store then
    store = ARGV[1]
    redis.call('SET', KEYS[4], store)
  end
  epoch = store .. '.' .. ARGV[11]
end
if head == 0 then
  redis.call('HSET', KEYS[2], 'epoch', epoch)
  -- Entries and ids left over from a lost log do not belong to the new one.
  redis.call('DEL', KEYS[1], KEYS[3])
end
-- Before the head is raised: it fails if another program has written the key.
redis.call('XADD', KEYS[1], offset .. '-0', 't', ARGV[3], 'u', ARGV[4], 'r', ARGV[5], 'i', ARGV[6], 'b', ARGV[7])
redis.call('HSET', KEYS[2], 'epoch', epoch, 'head', offset)
redis.call('HSET', KEYS[3], field, offset .. ' ' .. ARGV[3])
if not first_at then
  first, first_at = head + 1, tonumber(ARGV[3])
end

-- Retention: each append deletes at most two entries, so that its work is bounded and a backlog shrinks.
local max_entries, min_sent_at = tonumber(ARGV[8]), tonumber(ARGV[9])
if head + 2 - first > max_entries or first_at < min_sent_at then
  local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 3)
  for index, entry in ipairs(oldest) do
    local fields = entry[2]
    first, first_at = tonumber(string.match(entry[1], '^%d+')), tonumber(fields[2])
    if index == #oldest or (head + 2 - first <= max_entries and first_at >= min_sent_at) then
      break
    end
    redis.call('HDEL', KEYS[3], fields[6] .. '/' .. fields[4] .. '/' .. fields[8])
  end
  redis.call('XTRIM', KEYS[1], 'MINID', string.format('%.0f-0', first))
end
redis.call('HSET', KEYS[2], 'first', string.format('%.0f', first), 'first_at', string.format('%.0f', first_at))

for index = 1, 3 do
  redis.call('PEXPIRE', KEYS[index], ARGV[10])
end
return { epoch .. lineage, offset, ARGV[3], 0 }
