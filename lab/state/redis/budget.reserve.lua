-- Lease tokens from the pool: what was granted (nothing if none were left), used and reserved before.
-- KEYS: used, the leases by the time they are overdue, their amounts.
-- ARGV: name, how many are wanted, total, length of a lease in microseconds, life of the pool in milliseconds.
local used, leases, amounts = KEYS[1], KEYS[2], KEYS[3]
local time = redis.call('TIME')
local now = time[1] * 1e6 + time[2]
for _, name in ipairs(redis.call('ZRANGEBYSCORE', leases, '-inf', now)) do
  redis.call('ZREM', leases, name)
  redis.call('HDEL', amounts, name)
end
local spent, reserved = tonumber(redis.call('GET', used) or 0), 0
for _, amount in ipairs(redis.call('HVALS', amounts)) do
  reserved = reserved + amount
end
local left = ARGV[3] - spent - reserved
if left <= 0 then
  return { false, spent, reserved }
end
local granted = math.min(tonumber(ARGV[2]), left)
redis.call('ZADD', leases, now + ARGV[4], ARGV[1])
redis.call('HSET', amounts, ARGV[1], granted)
redis.call('PEXPIRE', leases, ARGV[5])
redis.call('PEXPIRE', amounts, ARGV[5])
return { granted, spent, reserved }
