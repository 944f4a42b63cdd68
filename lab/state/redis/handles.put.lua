-- Keep a handle and keep to the cap: when it was created and when it expires, in microseconds.
-- KEYS: the handle, the ids in the order they came, the ids by expiry.
-- ARGV: id, meta, data, life, cap, how long an expired one is still known, what a handle's key begins with.
local handle, order, expiry = KEYS[1], KEYS[2], KEYS[3]
local id, life, cap, known, prefix = ARGV[1], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]
local time = redis.call('TIME')
local created = time[1] * 1e6 + time[2]
local expires = created + life

local function evict(ids)
  for _, gone in ipairs(ids) do
    redis.call('UNLINK', prefix .. gone)
    redis.call('ZREM', order, gone)
    redis.call('ZREM', expiry, gone)
  end
end

redis.call('HSET', handle, 'meta', ARGV[2], 'data', ARGV[3],
  'created', string.format('%.0f', created), 'expires', string.format('%.0f', expires))
redis.call('PEXPIREAT', handle, math.ceil((expires + known) / 1e3))
redis.call('ZADD', order, (redis.call('ZRANGE', order, -1, -1, 'WITHSCORES')[2] or 0) + 1, id)
redis.call('ZADD', expiry, expires, id)

evict(redis.call('ZRANGEBYSCORE', expiry, '-inf', created - known, 'LIMIT', 0, 100))
if redis.call('ZCARD', order) > cap then
  evict(redis.call('ZRANGEBYSCORE', expiry, '-inf', created))
end
local over = redis.call('ZCARD', order) - cap
if over > 0 then
  evict(redis.call('ZRANGE', order, 0, over - 1))
end

local last = redis.call('ZRANGE', expiry, -1, -1, 'WITHSCORES')[2] or expires
redis.call('PEXPIREAT', order, math.ceil((last + known) / 1e3))
redis.call('PEXPIREAT', expiry, math.ceil((last + known) / 1e3))
return { created, expires }
