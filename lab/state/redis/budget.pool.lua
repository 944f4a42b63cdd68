-- Tokens used, and tokens reserved by leases that are not overdue.
-- KEYS: used, the leases by the time they are overdue, their amounts.
local time = redis.call('TIME')
local reserved = 0
for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. string.format('%.0f', time[1] * 1e6 + time[2]), '+inf')) do
  reserved = reserved + (redis.call('HGET', KEYS[3], name) or 0)
end
return { tonumber(redis.call('GET', KEYS[1]) or 0), reserved }
