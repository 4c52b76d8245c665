-- A job as its upload and its result object tell it: a record that was lost is made again, one that is behind (an older
-- state of Redis came back) is brought up. An ended one stays as it is.
-- ARGV: id, status, retention_ms, key ttl ms, field, value, …   → restored 0|1
local id, status = ARGV[1], ARGV[2]
local j = standing(id)
if ended(j.status) then return 0 end
if j.status then let_go(id, j) end
redis.call('HSET', record(id), unpack(ARGV, 5))
redis.call('HSETNX', record(id), 'attempt', '1')
remember_key(id, ARGV[4])
write(id, status)
if not j.status then count_usage(standing(id, 'bytes'), 1) end
retain(id, tonumber(ARGV[3]))
return 1
