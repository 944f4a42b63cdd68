-- Bytes of data in all handles.
-- KEYS: the ids in the order they came.  ARGV: what a handle's key begins with.
local bytes = 0
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  bytes = bytes + redis.call('HSTRLEN', ARGV[1] .. id, 'data')
end
return bytes
