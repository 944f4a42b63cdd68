-- Take a slot in a window log whose times are the callers' own: 1 or 0. Wrong on purpose: their clocks can differ.
-- KEYS: the window, a sorted set of admissions by time.
-- ARGV: limit, then window and now in microseconds, and a name that no other admission has.
local key, limit, window, now = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', key, '-inf', now - window)
local counting = redis.call('ZCARD', key)
if counting > 0 and counting >= limit then
  return 0
end
redis.call('ZADD', key, now, ARGV[4])
redis.call('PEXPIRE', key, math.ceil(window / 1e3))
return 1
