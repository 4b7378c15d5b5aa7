-- Claims connections of a fenced pod until the reaping pod's batch is full, and returns the whole batch, so that a
-- repeated call loses nothing. A field of a batch is the lease id of the connection's pod, '/', and the connection id.
-- KEYS leases fenced pending own-reaping dead-connections dead-reaping  ARGV own-lease-id dead-lease-id batch-size
-- → {unclaimed connections of the dead pod, batch as fields and values}, or nothing when the reaping pod does not hold its
-- lease
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  return false
end
local capacity = ARGV[3] - redis.call('HLEN', KEYS[4])
if redis.call('ZSCORE', KEYS[2], ARGV[2]) then
  for _, source in ipairs({KEYS[6], KEYS[5]}) do
    if capacity > 0 then
      local moved = redis.call('HRANDFIELD', source, capacity, 'WITHVALUES')
      for i = 1, #moved, 2 do
        local field = moved[i]
        -- Deletes first: a server at maxmemory rejects no write that follows a deletion in the same script.
        redis.call('HDEL', source, field)
        if source == KEYS[5] then
          field = ARGV[2] .. '/' .. field
          redis.call('HINCRBY', KEYS[3], ARGV[2], 1)
        end
        redis.call('HSET', KEYS[4], field, moved[i + 1])
      end
      capacity = capacity - #moved / 2
    end
  end
end
return {redis.call('HLEN', KEYS[5]) + redis.call('HLEN', KEYS[6]), redis.call('HGETALL', KEYS[4])}
