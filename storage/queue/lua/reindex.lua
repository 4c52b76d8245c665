#!lua flags=allow-oom
-- Open jobs that are neither waiting nor leased (part of Redis was lost) go back into line.
-- ARGV: id, …   → ids put back
local back = {}
for _, id in ipairs(ARGV) do
  local j = read(id, 'status', 'lane', 'tenant', 'model', 'deadline_ms')
  if j[1] and not ended(j[1]) then redis.call('ZADD', P .. 'open', 'NX', j[5], id) end
  if not j[1] then
    redis.call('ZREM', P .. 'open', id) -- the record is gone: the upload is adopted from the object store
  elseif j[1] == 'queued' then
    local there = redis.call('ZSCORE', P .. 'pending:' .. j[2], id)
      and redis.call('ZSCORE', line(j[2], j[3], j[4]), id)
      and redis.call('SISMEMBER', models(j[2], j[3]), j[4]) == 1
      and redis.call('ZSCORE', P .. 'turns:' .. j[2], j[3])
    if not there then requeue(id); table.insert(back, id) end
  elseif j[1] == 'running' then
    if not redis.call('ZSCORE', P .. 'leases:' .. j[2], id) then requeue(id); table.insert(back, id) end
  else
    redis.call('ZREM', P .. 'open', id)
  end
end
return back
