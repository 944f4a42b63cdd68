-- Revoke every token of a principal, and tell whoever listens: how many were good until now.
-- KEYS: the principal's tokens, the channel.  ARGV: what a token's key begins with; its slot is KEYS[1]'s.
local principal, channel, prefix = KEYS[1], KEYS[2], ARGV[1]
local newly = 0
for _, id in ipairs(redis.call('ZRANGE', principal, 0, -1)) do
  if redis.call('GET', prefix .. id) == '0' then
    redis.call('SET', prefix .. id, '1', 'KEEPTTL')
    redis.call('SPUBLISH', channel, id)
    newly = newly + 1
  end
end
redis.call('DEL', principal)
return newly
