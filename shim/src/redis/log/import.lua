-- Imports messages of another store, with their offsets and the epoch that clients have.
--
-- KEYS  1 entries (stream)   2 bounds (hash: epoch, head, first, first_at, lineage)
--       3 ids (hash: sender and id -> "offset sent_at")
-- ARGV  1 epoch   2 1 if the epoch depends on the master, else 0   3 offset that precedes the first message
--       4 lifetime of the keys without an append, in ms   5... for each message: offset, sent_at, user, role, id, body
-- Returns 'done', 'epoch' (the log has messages of another epoch) or 'missing_range' (the head is below the first
-- offset minus one). `lineage` is the replication id of the master under which the log was imported.
local bounds = redis.call('HMGET', KEYS[2], 'epoch', 'head', 'first', 'first_at', 'lineage')
local head, first_at = tonumber(bounds[2] or 0), bounds[4]
local lineage = ''
if ARGV[2] == '1' then
  lineage = string.sub(string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)') or '', 1, 12)
end

local is_empty = head == 0
if is_empty then
  head = tonumber(ARGV[3])
else
  local current_epoch = bounds[1]
  if ARGV[2] == '1' and lineage ~= bounds[5] then
    current_epoch = current_epoch .. '-' .. lineage
  end
  if current_epoch ~= ARGV[1] then
    return 'epoch'
  end
end
local start = 5
while ARGV[start] and tonumber(ARGV[start]) <= head do
  start = start + 6
end
if tonumber(ARGV[start] or ARGV[3]) > head + (ARGV[start] and 1 or 0) then
  return 'missing_range'
end

-- The first write is one that a server at maxmemory rejects, so that the script writes all or nothing.
local last = string.format('%.0f', head)
if ARGV[start] then
  last = ARGV[#ARGV - 5]
end
redis.call('HSET', KEYS[2], 'head', last)
if is_empty then
  -- As long as this master is not replaced, clients get the epoch unchanged.
  redis.call('HSET', KEYS[2], 'epoch', ARGV[1], 'lineage', lineage, 'first', string.format('%.0f', head + 1))
  redis.call('HDEL', KEYS[2], 'first_at')
  redis.call('DEL', KEYS[1], KEYS[3])
  first_at = false
end
for i = start, #ARGV, 6 do
  local offset, sent_at, user, role, id = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  redis.call('XADD', KEYS[1], offset .. '-0', 't', sent_at, 'u', user, 'r', role, 'i', id, 'b', ARGV[i + 5])
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
