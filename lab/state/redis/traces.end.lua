-- The hash of the newest line; nothing if there is none.
-- KEYS: the lines.  ARGV: how long a hash is.
local line = redis.call('LINDEX', KEYS[1], -1)
return line and string.sub(line, 1, tonumber(ARGV[1]))
