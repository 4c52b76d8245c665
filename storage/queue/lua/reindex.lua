-- Requeues open jobs that are neither waiting nor leased, because Redis lost some of its data.
-- ARGV: id, …   Returns the requeued ids
local back = {}
for _, id in ipairs(ARGV) do
  local j = read_with_queue(id, 'deadline_ms')
  if j.status and not ended(j.status) then redis.call('ZADD', P .. 'open', 'NX', j.deadline_ms, id) end
  if not j.status then
    redis.call('ZREM', P .. 'open', id) -- without a job hash, the adopter rebuilds it from the upload
  elseif j.status == 'queued' then
    local complete = redis.call('ZSCORE', P .. 'pending:' .. j.lane, id)
      and redis.call('ZSCORE', queue_key(j.lane, j.party, j.model), id)
      and redis.call('SISMEMBER', models(j.lane, j.party), j.model) == 1
      and redis.call('ZSCORE', P .. 'turns:' .. j.lane, j.party)
    if not complete then requeue(id); table.insert(back, id) end
  elseif j.status == 'running' then
    if not redis.call('ZSCORE', P .. 'leases:' .. j.lane, id) then requeue(id); table.insert(back, id) end
  else
    redis.call('ZREM', P .. 'open', id)
  end
end
if #back > 0 then count('requeued', #back) end
return back
