-- The line of one action; nothing if there is none.
-- KEYS: the lines, the place of each action, the heads (under 'end' how many lines there ever were).  ARGV: action.
local place = redis.call('HGET', KEYS[2], ARGV[1])
if not place then
  return false
end
local first = redis.call('HGET', KEYS[3], 'end') - redis.call('LLEN', KEYS[1])
return redis.call('LINDEX', KEYS[1], place - first)
