-- Creates a waiting job for a stored upload. Repeating it changes nothing.
-- ARGV: id, deadline_ms, micro_batch, key ttl ms, 1 if the job may have been attempted before,
--       then field, value, … of the job hash
-- Returns {created 0|1, tickets missing}
local id, deadline_ms, micro_batch, ttl_ms, again = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]

-- Counts the job in the current burst. Writes to its job hash how many jobs and pixels have been submitted
-- so far, this job included.
local function note_submission(pixels)
  local burst = inflow()
  if NOW - burst.last > BREAK_MS then
    redis.call('HSET', INFLOW, 'since', NOW, 'jobs', 0)
  elseif NOW - burst.since > MEMORY_MS then
    -- Traffic without a break is one burst for days: forget half of it, so that its rate stays current.
    redis.call('HSET', INFLOW, 'since', math.floor((burst.since + NOW) / 2), 'jobs', math.ceil(burst.jobs / 2))
  end
  redis.call('HSET', INFLOW, 'last', NOW)
  redis.call('HINCRBY', INFLOW, 'jobs', 1)
  redis.call('HSET', job_key(id), 'sum_jobs', redis.call('HINCRBY', INFLOW, 'sum_jobs', 1),
    'sum_pixels', redis.call('HINCRBY', INFLOW, 'sum_pixels', pixels))
end

local created = redis.call('EXISTS', job_key(id)) == 0
if created then
  redis.call('HSET', job_key(id), unpack(ARGV, 6))
  write(id, 'queued', 'attempt', '1', 'losses', '0', 'losses_isolated', '0', 'again', again)
  redis.call('ZADD', P .. 'open', deadline_ms, id)
  add_to_pending(id)
  local j = read_with_queue(id, 'bytes', 'pixels')
  count_usage(j, 1)
  note_submission(j.pixels)
  count(again == '1' and 'adopted' or 'accepted')
end
remember_key(id, ttl_ms)
return { created and 1 or 0, tickets_missing(micro_batch) }
