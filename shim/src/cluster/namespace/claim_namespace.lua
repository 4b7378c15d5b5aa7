-- Claims the namespace for a deployment: it is free, or one of the deployment's fingerprints is stored.
-- KEYS namespace  ARGV limit fingerprint...  → 1, or 0 when the namespace belongs to another deployment
local claimed = redis.call('ZCARD', KEYS[1]) == 0
for i = 2, #ARGV do
  claimed = claimed or redis.call('ZSCORE', KEYS[1], ARGV[i]) ~= false
end
if not claimed then
  return 0
end
local time = redis.call('TIME')
for i = 2, #ARGV do
  redis.call('ZADD', KEYS[1], time[1], ARGV[i])
end
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -ARGV[1] - 1)
return 1
