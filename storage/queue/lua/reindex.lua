-- Open jobs that are neither waiting nor leased (part of Redis was lost) go back into line.
-- ARGV: id, …   → ids put back
local back = {}
for _, id in ipairs(ARGV) do
  local j = standing(id, 'deadline_ms')
  if j.status and not ended(j.status) then redis.call('ZADD', P .. 'open', 'NX', j.deadline_ms, id) end
  if not j.status then
    redis.call('ZREM', P .. 'open', id) -- the record is gone: the upload is adopted from the object store
  elseif j.status == 'queued' then
    local there = redis.call('ZSCORE', P .. 'pending:' .. j.lane, id)
      and redis.call('ZSCORE', line(j.lane, j.party, j.model), id)
      and redis.call('SISMEMBER', models(j.lane, j.party), j.model) == 1
      and redis.call('ZSCORE', P .. 'turns:' .. j.lane, j.party)
    if not there then requeue(id); table.insert(back, id) end
  elseif j.status == 'running' then
    if not redis.call('ZSCORE', P .. 'leases:' .. j.lane, id) then requeue(id); table.insert(back, id) end
  else
    redis.call('ZREM', P .. 'open', id)
  end
end
return back
