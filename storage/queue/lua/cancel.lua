-- Only a lease holder writes a result: a waiting job is leased to the caller, who writes it; a running one is marked
-- for its holder. A lease of 0 ms is at once the sweeper's, who writes the result instead.
-- ARGV: id, token, lease_ms   → 'leased', 'marked', the terminal status, or 'unknown'
local id, token, lease_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
local j = standing(id, 'token')
if not j.status then return 'unknown' end
if j.status == 'queued' then
  leave_line(id, j.lane, j.party, j.model)
  lease(id, j.lane, token, lease_ms, 'cancel', '1', 'micro_batch', 0)
  return 'leased'
end
if j.status == 'running' then
  if j.token == token then return 'leased' end
  redis.call('HSET', record(id), 'cancel', '1')
  return 'marked'
end
return j.status
