-- Remember that a token was issued to a principal. A revoked token stays revoked.
-- KEYS: the token ('0' good, '1' revoked), the principal's tokens (scored by expiry).
-- ARGV: token id, expiry and margin in microseconds.
local token, principal = KEYS[1], KEYS[2]
local id, expires, margin = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1e6 + time[2]

if redis.call('GET', token) ~= '1' then
  redis.call('SET', token, '0')
end
redis.call('PEXPIREAT', token, math.ceil((expires + margin) / 1e3))
redis.call('ZREMRANGEBYSCORE', principal, '-inf', now - margin)
redis.call('ZADD', principal, expires, id)
local last = redis.call('ZRANGE', principal, -1, -1, 'WITHSCORES')[2]
redis.call('PEXPIREAT', principal, math.ceil((last + margin) / 1e3))
return redis.status_reply('OK')
