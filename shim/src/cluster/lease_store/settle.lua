-- Strikes off what a survivor has finished of a fenced pod's connections. After the last one the pod is forgotten and its
-- number is free. A share that vanished with its survivor for longer than records are kept holds nothing up.
-- KEYS own-reaping owed fenced nodes dead-sessions dead-reaping  ARGV dead-name node keep-ms field...
-- → 1 when the pod is forgotten
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local done = 0
for i = 4, #ARGV do
  done = done + redis.call('HDEL', KEYS[1], ARGV[i])
end
if done > 0 then
  redis.call('HINCRBY', KEYS[2], ARGV[1], -done)
end
local since = redis.call('ZSCORE', KEYS[3], ARGV[1])
if not since then
  return 1
end
local owed = tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or '0')
local abandoned = now - since > tonumber(ARGV[3])
if redis.call('EXISTS', KEYS[5], KEYS[6]) > 0 or (owed > 0 and not abandoned) then
  return 0
end
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('HDEL', KEYS[2], ARGV[1])
if redis.call('HGET', KEYS[4], ARGV[2]) == '-' .. ARGV[1] then
  redis.call('HDEL', KEYS[4], ARGV[2])
end
return 1
