-- Creates a waiting job for a stored upload. Repeating it changes nothing.
-- ARGV: id, deadline_ms, micro_batch, key ttl ms, 1 if the job may have been attempted before,
--       then field, value, … of the job hash
-- Returns {created 0|1, tickets missing}
local id, deadline_ms, micro_batch, ttl_ms, again = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]

local created = redis.call('EXISTS', job_key(id)) == 0
if created then
  redis.call('HSET', job_key(id), unpack(ARGV, 6))
  write(id, 'queued', 'attempt', '1', 'losses', '0', 'losses_alone', '0', 'again', again)
  redis.call('ZADD', P .. 'open', deadline_ms, id)
  add_to_pending(id)
  count_usage(read_with_queue(id, 'bytes'), 1)
end
remember_key(id, ttl_ms)
return { created and 1 or 0, tickets_missing(micro_batch) }
