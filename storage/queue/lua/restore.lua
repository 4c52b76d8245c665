-- Ends a job as its upload and its result object say. Creates a lost job hash, or updates an open
-- one (Redis went back to an older state). An ended job stays as it is.
-- ARGV: id, status, retention_ms, key ttl ms, field, value, …   Returns restored 0|1
local id, status = ARGV[1], ARGV[2]
local j = read_with_queue(id)
if ended(j.status) then return 0 end
if j.status then remove_from_queues(id, j) end
redis.call('HSET', job_key(id), unpack(ARGV, 5))
redis.call('HSETNX', job_key(id), 'attempt', '1')
remember_key(id, ARGV[4])
write(id, status)
if not j.status then
  count_usage(read_with_queue(id, 'bytes'), 1)
  count('restored')
end
retain(id, tonumber(ARGV[3]))
return 1
