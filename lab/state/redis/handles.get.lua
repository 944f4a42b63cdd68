-- A handle's created, expires, and its data unless it has expired; nothing if there is none.
-- KEYS: the handle.
local row = redis.call('HMGET', KEYS[1], 'created', 'expires', 'data')
if not row[1] then
  return false
end
local time = redis.call('TIME')
if tonumber(row[2]) <= time[1] * 1e6 + time[2] then
  row[3] = false
end
return row
