-- The place after the last line, the checkpoint, and every line, as of one instant.
-- KEYS: the lines, the head.
local head = redis.call('HMGET', KEYS[2], 'place', 'checkpoint')
return { head[1], head[2], redis.call('LRANGE', KEYS[1], 0, -1) }
