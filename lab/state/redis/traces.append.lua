-- Append a line if its chain is where the writer says: 'OK', 'TWICE' (the action is there), or 'MOVED'.
-- KEYS: the lines, the action of each line, the place of each action, the head of each chain (and under 'end' how
-- many lines there ever were), the hash that a chain goes on from where the cap has dropped its beginning.
-- ARGV: chain, its head before (empty for a new chain) and after, action, line, cap, life in milliseconds.
-- A line begins with its own hash (64 characters) and the hash before it (64), then its chain (16).
local lines, actions, places, heads, checkpoints = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local chain, action = ARGV[1], ARGV[4]
if (redis.call('HGET', heads, chain) or '') ~= ARGV[2] then
  return redis.status_reply('MOVED')
end
if redis.call('HEXISTS', places, action) == 1 then
  return redis.status_reply('TWICE')
end

local length = redis.call('RPUSH', lines, ARGV[5])
redis.call('RPUSH', actions, action)
redis.call('HSET', places, action, redis.call('HINCRBY', heads, 'end', 1) - 1)
redis.call('HSET', heads, chain, ARGV[3])
while length > tonumber(ARGV[6]) do
  local line = redis.call('LPOP', lines)
  redis.call('HDEL', places, redis.call('LPOP', actions))
  local hash, its = string.sub(line, 1, 64), string.sub(line, 129, 144)
  local head = redis.call('HGET', heads, its)
  if head and string.sub(head, -64) == hash then
    -- nothing of this chain is left: a writer who comes back begins another
    redis.call('HDEL', heads, its)
    redis.call('HDEL', checkpoints, its)
  else
    redis.call('HSET', checkpoints, its, hash)
  end
  length = length - 1
end
for _, key in ipairs(KEYS) do
  redis.call('PEXPIRE', key, ARGV[7])
end
return redis.status_reply('OK')
