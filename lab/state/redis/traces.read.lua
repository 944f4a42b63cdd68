-- How many lines there ever were, the checkpoints of the chains, and every line, as of one instant.
-- KEYS: the lines, the heads (under 'end' how many lines there ever were), the checkpoints.
return {
  redis.call('HGET', KEYS[2], 'end'), redis.call('HGETALL', KEYS[3]), redis.call('LRANGE', KEYS[1], 0, -1)
}
