-- Counts the registered connections of all other pods whose lease has not expired.
-- KEYS leases  ARGV own-lease-id prefix-of-connections-keys  → number, or nothing when there is no other pod
-- The keys are built here, because the pods are known here only; they have the hash tag of KEYS.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local count, pods = 0, 0
for _, lease_id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], now, '+inf')) do
  if lease_id ~= ARGV[1] then
    pods = pods + 1
    count = count + redis.call('HLEN', ARGV[2] .. lease_id)
  end
end
if pods == 0 then
  return false
end
return count
