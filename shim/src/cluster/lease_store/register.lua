-- Registers connections for a pod that holds its lease. Without a lease no pod would ever delete the records.
-- KEYS leases connections  ARGV lease-id (connection-id record)...  → 1, or 0 when the lease is not held
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  return 0
end
for i = 2, #ARGV, 2 do
  redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
end
return 1
