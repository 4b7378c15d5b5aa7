-- Reads the bounds of a log and a range of its entries atomically.
--
-- KEYS  1 entries (stream)   2 bounds (hash: epoch, head, first, lineage: see import.lua)   3 epoch of the store (string)
-- ARGV  1 epoch of a new store   2 1 if the epoch depends on the master, else 0   3 'asc' or 'desc'
--       4 first entry id, '+' for the newest   5 maximum number of entries, 0 for the bounds only
--       6 maximum bytes of bodies   7 period of the epoch of an empty log
-- Returns {epoch, head, first, {{id, fields}, ...} in the order of reading}.
local bounds = redis.call('HMGET', KEYS[2], 'epoch', 'head', 'first', 'lineage')
local epoch, head = bounds[1], bounds[2] or '0'
local first = bounds[3] or '1'
if not epoch then
  -- Reading a channel creates no key. A client gets this epoch, so the first append derives the same one.
  local store = redis.call('GET', KEYS[3])
  if not store then
    store = ARGV[1]
    -- A server that rejects writes (out of memory, read-only) does not store it: then a reader of an empty log later
    -- receives a gap although no message was lost.
    redis.pcall('SET', KEYS[3], store)
  end
  epoch = store .. '.' .. ARGV[7]
end
if ARGV[2] == '1' then
  local lineage = string.sub(string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)') or '', 1, 12)
  if lineage ~= bounds[4] then
    epoch = epoch .. '-' .. lineage
  end
end

local entries, limit, remaining_bytes = {}, tonumber(ARGV[5]), tonumber(ARGV[6])
local start, ascending = ARGV[4], ARGV[3] == 'asc'
while #entries < limit do
  -- Reads small batches, so that few large bodies beyond the limit are read in vain.
  local count = math.min(8, limit - #entries)
  local batch
  if ascending then
    batch = redis.call('XRANGE', KEYS[1], start, '+', 'COUNT', count)
  else
    batch = redis.call('XREVRANGE', KEYS[1], start, '-', 'COUNT', count)
  end
  for _, entry in ipairs(batch) do
    remaining_bytes = remaining_bytes - #entry[2][10]
    if remaining_bytes < 0 and #entries > 0 then
      return { epoch, head, first, entries }
    end
    entries[#entries + 1] = entry
  end
  if #batch < count then
    break
  end
  start = '(' .. batch[#batch][1]
end
return { epoch, head, first, entries }
