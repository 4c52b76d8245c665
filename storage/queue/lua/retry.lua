-- Queues another attempt, with a new deadline, of a job that ended without a mask. The caller has
-- already removed its problem object.
-- ARGV: id, deadline_ms   Returns retried 0|1
local id, deadline_ms = ARGV[1], ARGV[2]
local j = read(id, 'status', 'attempt')
if j.status ~= 'failed' and j.status ~= 'expired' and j.status ~= 'canceled' then return 0 end
if redis.call('ZSCORE', P .. 'retained', id) == '0' then return 0 end -- it is being erased
redis.call('ZREM', P .. 'retained', id)
redis.call('HDEL', job_key(id), 'outcome', 'result_key', 'finished_ms', 'retained_until_ms', 'cancel', 'token', 'lost',
  'worker', 'started_ms', 'micro_batch', 'sum_jobs', 'sum_pixels', 'arm', 'lost_in')
redis.call('PERSIST', job_key(id))
redis.call('ZADD', P .. 'open', deadline_ms, id)
write(id, 'queued', 'attempt', j.attempt + 1, 'losses', '0', 'losses_isolated', '0', 'deadline_ms', deadline_ms, 'again', '1')
add_to_pending(id)
count('retried')
return 1
