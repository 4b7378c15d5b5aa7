-- Registers connections of a dead pod again from its journal, unless Redis still has the data that had them. The pod
-- gets an expired lease, so that another pod fences and reaps it.
-- KEYS leases nodes fenced data_epoch connections  ARGV lease-id node journal-epoch retention-ms (connection-id record)...
-- → 1 when registered, 0 when Redis has not lost the data
if redis.call('GET', KEYS[4]) == ARGV[3] then
  return 0
end
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) and not redis.call('ZSCORE', KEYS[3], ARGV[1]) then
  redis.call('ZADD', KEYS[1], 0, ARGV[1])
  redis.call('HSETNX', KEYS[2], ARGV[2], ARGV[1])
end
for i = 5, #ARGV, 2 do
  redis.call('HSETNX', KEYS[5], ARGV[i], ARGV[i + 1])
end
redis.call('PEXPIRE', KEYS[5], ARGV[4])
return 1
