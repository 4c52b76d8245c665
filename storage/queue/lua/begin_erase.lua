-- The first step of an erasure: the job leaves the line, and the janitor will finish what its caller may not.
-- ARGV: id   → 'running' (nothing was done), the status before, or nothing for an unknown one
local id = ARGV[1]
local j = standing(id)
if not j.status then return nil end
if j.status == 'running' then return 'running' end
if j.status == 'queued' then
  let_go(id, j)
  write(id, 'canceled', 'finished_ms', NOW)
end
redis.call('ZADD', P .. 'retained', 0, id)
return j.status
