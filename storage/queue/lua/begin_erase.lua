-- First step of an erasure: removes the job from the pending set. From now on, the janitor
-- completes the erasure if the caller does not.
-- ARGV: id   Returns 'running' (nothing was done), the status before, or nil for an unknown job
local id = ARGV[1]
local j = read_with_queue(id)
if not j.status then return nil end
if j.status == 'running' then return 'running' end
if j.status == 'queued' then
  remove_from_queues(id, j)
  write(id, 'canceled', 'finished_ms', NOW)
end
redis.call('DEL', P .. 'mask:' .. id)
redis.call('ZADD', P .. 'retained', 0, id)
return j.status
