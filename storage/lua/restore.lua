#!lua
-- A record made again from its upload and its result object. Never touches an existing one.
-- ARGV: id, status, retention_ms, field, value, …   → restored 0|1
local id = ARGV[1]
if redis.call('EXISTS', record(id)) == 1 then return 0 end
redis.call('HSET', record(id), unpack(ARGV, 4))
write(id, ARGV[2])
retain(id, ARGV[3])
return 1
