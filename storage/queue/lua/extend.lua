-- Renews the leases and the drainer after a stage has made progress.
-- ARGV: token, drainer, worker, lease_ms, drainer_ms, id, …
-- Returns for each id 'held', 'canceled' (the holder must stop) or 'lost'
local token, drainer, worker = ARGV[1], ARGV[2], ARGV[3]
local lease_ms, drainer_ms = tonumber(ARGV[4]), tonumber(ARGV[5])
-- XX: never restore a drainer whose last claim found nothing, or the next submit sends no ticket.
redis.call('ZADD', P .. 'drainers', 'XX', NOW + drainer_ms, drainer)
redis.call('ZADD', P .. 'progress', NOW, worker)
local states = {}
for i = 6, #ARGV do
  local id = ARGV[i]
  local j = read(id, 'status', 'token', 'lane', 'cancel')
  if j.status ~= 'running' or j.token ~= token then
    table.insert(states, 'lost')
  else
    redis.call('ZADD', P .. 'leases:' .. j.lane, NOW + lease_ms, id)
    table.insert(states, j.cancel == '1' and 'canceled' or 'held')
  end
end
return states
