-- Requeues the holder's jobs (shutdown, store outage, no model) without counting a lost lease.
-- ARGV: token, id, …   Returns how many were requeued
local requeued = 0
for i = 2, #ARGV do
  local j = read(ARGV[i], 'status', 'token')
  if j.status == 'running' and j.token == ARGV[1] then
    requeue(ARGV[i])
    requeued = requeued + 1
  end
end
if requeued > 0 then count('released', requeued) end
return requeued
