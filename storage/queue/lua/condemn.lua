#!lua flags=allow-oom
-- The first step of an erasure: the job leaves the line, and the janitor will finish what its caller may not.
-- ARGV: id   → 'running' (nothing was done), the status before, or 'unknown'
local id = ARGV[1]
local j = read(id, 'status', 'lane', 'tenant', 'model')
if not j[1] then return 'unknown' end
if j[1] == 'running' then return 'running' end
if j[1] == 'queued' then
  let_go(id, j[2], j[3], j[4])
  write(id, 'canceled', 'finished_ms', NOW)
end
redis.call('ZADD', P .. 'retained', 0, id)
return j[1]
