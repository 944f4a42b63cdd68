-- Spend tokens, and set leases to what is left of them.
-- KEYS: used, the leases by the time they are overdue, their amounts.
-- ARGV: how many were spent, total, life of the pool in milliseconds, then name and amount of each lease.
local used, leases, amounts = KEYS[1], KEYS[2], KEYS[3]
for i = 4, #ARGV, 2 do
  if ARGV[i + 1] == '0' then
    redis.call('ZREM', leases, ARGV[i])
    redis.call('HDEL', amounts, ARGV[i])
  elseif redis.call('HEXISTS', amounts, ARGV[i]) == 1 then
    redis.call('HSET', amounts, ARGV[i], ARGV[i + 1])
  end
end
local spent = math.min(tonumber(ARGV[2]), tonumber(redis.call('GET', used) or 0) + ARGV[1])
redis.call('SET', used, spent, 'PX', ARGV[3])
return redis.status_reply('OK')
