#!lua flags=allow-oom
-- Only a lease holder writes a result: a waiting job is leased to the caller, who writes it; a running one is marked
-- for its holder. A lease of 0 ms is at once the sweeper's, who writes the result instead.
-- ARGV: id, token, lease_ms   → 'leased', 'marked', the terminal status, or 'unknown'
local id, token, lease_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
local j = read(id, 'status', 'lane', 'tenant', 'model', 'token')
if not j[1] then return 'unknown' end
if j[1] == 'queued' then
  leave_line(id, j[2], j[3], j[4])
  lease(id, j[2], token, lease_ms, 'cancel', '1', 'micro_batch', 0)
  return 'leased'
end
if j[1] == 'running' then
  if j[5] == token then return 'leased' end
  redis.call('HSET', record(id), 'cancel', '1')
  return 'marked'
end
return j[1]
