-- Whether limiter.acquire would say yes just now: 1 or 0. Changes nothing.
-- KEYS: the window.  ARGV: limit, window in microseconds.
local times, limit, window = redis.call('LRANGE', KEYS[1], 0, -1), tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1e6 + time[2]
local counting = 0
for _, t in ipairs(times) do
  if tonumber(t) > now - window then
    counting = counting + 1
  end
end
return (counting == 0 or counting < limit) and 1 or 0
