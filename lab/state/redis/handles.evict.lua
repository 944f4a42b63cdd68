-- Forget every handle that has expired: how many.
-- KEYS: the ids in the order they came, the ids by expiry.  ARGV: what a handle's key begins with.
local order, expiry = KEYS[1], KEYS[2]
local time = redis.call('TIME')
local expired = redis.call('ZRANGEBYSCORE', expiry, '-inf', time[1] * 1e6 + time[2])
for _, gone in ipairs(expired) do
  redis.call('UNLINK', ARGV[1] .. gone)
  redis.call('ZREM', order, gone)
  redis.call('ZREM', expiry, gone)
end
return #expired
