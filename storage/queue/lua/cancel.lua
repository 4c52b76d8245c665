-- Only a lease holder may write a result. So this leases a waiting job to the caller, which writes
-- the result, and marks a running job for its holder. A lease of 0 ms expires at once: the sweeper
-- takes it and writes the result instead.
-- ARGV: id, token, lease_ms   Returns 'leased', 'marked', the terminal status, or 'unknown'
local id, token, lease_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
local j = read_with_queue(id, 'token')
if not j.status then return 'unknown' end
if j.status == 'queued' then
  remove_from_pending(id, j.lane, j.party, j.model)
  lease(id, j.lane, token, lease_ms, 'cancel', '1', 'micro_batch', 0)
  return 'leased'
end
if j.status == 'running' then
  if j.token == token then return 'leased' end
  redis.call('HSET', job_key(id), 'cancel', '1')
  return 'marked'
end
return j.status
