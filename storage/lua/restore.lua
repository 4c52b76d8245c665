#!lua
-- A job as its upload and its result object tell it: a record that was lost is made again, one that is behind (an older
-- state of Redis came back) is brought up. An ended one stays as it is.
-- ARGV: id, status, retention_ms, field, value, …   → restored 0|1
local id, status = ARGV[1], ARGV[2]
local j = read(id, 'status', 'lane', 'tenant', 'model')
if ended(j[1]) then return 0 end
if j[1] then
  leave_line(id, j[2], j[3], j[4])
  redis.call('ZREM', P .. 'leases:' .. j[2], id)
  redis.call('ZREM', P .. 'open', id)
end
redis.call('HSET', record(id), unpack(ARGV, 4))
redis.call('HSETNX', record(id), 'attempt', '1')
local k = read(id, 'tenant', 'key_hash', 'fingerprint')
if k[2] and k[2] ~= '' then -- the key is as old as the job: a repetition must not make another one
  local idem = P .. 'idem:' .. k[1] .. ':' .. k[2]
  redis.call('HSET', idem, 'id', id, 'fingerprint', k[3], 'busy_until', '0')
  redis.call('PEXPIRE', idem, DAY_MS)
end
write(id, status)
retain(id, tonumber(ARGV[3]))
return 1
