-- Take a slot in a window log, if there is one: 1 or 0.
-- KEYS: the window, a list of admission times, oldest first.  ARGV: limit, window in microseconds.
local key, limit, window = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1e6 + time[2]

-- the clock was set back: what lies in the future was admitted now at the latest
if (tonumber(redis.call('LINDEX', key, -1)) or 0) > now then
  for i, t in ipairs(redis.call('LRANGE', key, 0, -1)) do
    if tonumber(t) > now then
      redis.call('LSET', key, i - 1, now)
    end
  end
end
local first = redis.call('LINDEX', key, 0)
while first and tonumber(first) <= now - window do
  redis.call('LPOP', key)
  first = redis.call('LINDEX', key, 0)
end
if first and redis.call('LLEN', key) >= limit then
  return 0
end
redis.call('RPUSH', key, now)
redis.call('PEXPIREAT', key, math.ceil((now + window) / 1e3))
return 1
