-- Take a slot in a window and track the token that is granted for it, or neither: 1 or 0.
-- KEYS: the window, the token, the principal's tokens.
-- ARGV: limit, window, token id, expiry, margin; times in microseconds.
-- The keys are in different slots: a single server has them all, a cluster does not.
local window, token, principal = KEYS[1], KEYS[2], KEYS[3]
local limit, span = tonumber(ARGV[1]), tonumber(ARGV[2])
local id, expires, margin = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local time = redis.call('TIME')
local now = time[1] * 1e6 + time[2]

-- as limiter.acquire
if (tonumber(redis.call('LINDEX', window, -1)) or 0) > now then
  for i, t in ipairs(redis.call('LRANGE', window, 0, -1)) do
    if tonumber(t) > now then
      redis.call('LSET', window, i - 1, now)
    end
  end
end
local first = redis.call('LINDEX', window, 0)
while first and tonumber(first) <= now - span do
  redis.call('LPOP', window)
  first = redis.call('LINDEX', window, 0)
end
if first and redis.call('LLEN', window) >= limit then
  return 0
end
redis.call('RPUSH', window, now)
redis.call('PEXPIREAT', window, math.ceil((now + span) / 1e3))

-- as revocations.track
redis.call('SET', token, '0', 'PXAT', math.ceil((expires + margin) / 1e3))
redis.call('ZREMRANGEBYSCORE', principal, '-inf', now - margin)
redis.call('ZADD', principal, expires, id)
local last = redis.call('ZRANGE', principal, -1, -1, 'WITHSCORES')[2]
redis.call('PEXPIREAT', principal, math.ceil((last + margin) / 1e3))
return 1
