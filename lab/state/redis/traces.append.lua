-- Append a line if the head is still what its writer saw: 'OK', 'TWICE', or the head there is instead.
-- KEYS: the lines, the action of each line, the place of each action, the head.
-- ARGV: the head the writer saw (place, hash), action, line, the line's hash, cap, life in milliseconds.
-- A line begins with its own hash.
local lines, actions, places, head = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local place, hash = ARGV[1], ARGV[2]
local now = redis.call('HMGET', head, 'place', 'hash')
if now[1] and (now[1] ~= place or now[2] ~= hash) then
  return now
end
if not now[1] and place ~= '0' then
  return false
end
if redis.call('HEXISTS', places, ARGV[3]) == 1 then
  return redis.status_reply('TWICE')
end

redis.call('RPUSH', lines, ARGV[4])
redis.call('RPUSH', actions, ARGV[3])
redis.call('HSET', places, ARGV[3], place)
redis.call('HSET', head, 'place', place + 1, 'hash', ARGV[5])
while redis.call('LLEN', lines) > tonumber(ARGV[6]) do
  redis.call('HSET', head, 'checkpoint', string.sub(redis.call('LPOP', lines), 1, #ARGV[5]))
  redis.call('HDEL', places, redis.call('LPOP', actions))
end
for _, key in ipairs(KEYS) do
  redis.call('PEXPIRE', key, ARGV[7])
end
return redis.status_reply('OK')
