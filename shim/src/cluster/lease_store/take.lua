-- Fills a survivor's share up from what a fenced pod has left, and returns the whole share, so that a repeated call loses
-- nothing. A field of a share is the name of the pod whose connection it was, '/', and the connection's id.
-- KEYS leases fenced owed own-reaping dead-sessions dead-reaping  ARGV own-name dead-name share
-- → {left with the dead, share as fields and values}, or nothing when the survivor does not hold its lease
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  return false
end
local room = ARGV[3] - redis.call('HLEN', KEYS[4])
if redis.call('ZSCORE', KEYS[2], ARGV[2]) then
  for _, source in ipairs({KEYS[6], KEYS[5]}) do
    if room > 0 then
      local moved = redis.call('HRANDFIELD', source, room, 'WITHVALUES')
      for i = 1, #moved, 2 do
        local field = moved[i]
        -- First, because a full server refuses no write behind a deletion.
        redis.call('HDEL', source, field)
        if source == KEYS[5] then
          field = ARGV[2] .. '/' .. field
          redis.call('HINCRBY', KEYS[3], ARGV[2], 1)
        end
        redis.call('HSET', KEYS[4], field, moved[i + 1])
      end
      room = room - #moved / 2
    end
  end
end
return {redis.call('HLEN', KEYS[5]) + redis.call('HLEN', KEYS[6]), redis.call('HGETALL', KEYS[4])}
