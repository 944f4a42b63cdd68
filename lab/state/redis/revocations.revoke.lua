-- Revoke one token, and tell whoever listens.
-- KEYS: the token, the channel.  ARGV: token id, life in milliseconds of a revocation whose token nobody tracked.
local token, channel = KEYS[1], KEYS[2]
local known = redis.call('GET', token)
if known == '0' then
  redis.call('SET', token, '1', 'KEEPTTL')
elseif not known then
  redis.call('SET', token, '1', 'PX', ARGV[2])
end
redis.call('SPUBLISH', channel, ARGV[1])
return redis.status_reply('OK')
