#!lua flags=allow-oom
-- Leases up to `micro_batch` waiting jobs to the caller's token, one model for all of them. The same token gets the
-- same jobs again, so a lost reply orphans nothing. A claim that finds nothing removes its drainer in the same
-- call: a submit after it sees that nobody is draining and sends a ticket.
-- ARGV: token, drainer, worker, micro_batch, max pixels, max bytes, lease_ms, drainer_ms
-- → {record, …}, each a flat list of fields and values
local token, drainer, worker = ARGV[1], ARGV[2], ARGV[3]
local micro_batch, max_pixels, max_bytes = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local lease_ms, drainer_ms = tonumber(ARGV[7]), tonumber(ARGV[8])
local claimed = P .. 'claim:' .. token

-- A job that was lost with its worker runs among few, then alone: a poisonous one shows itself, the others are freed.
local function most_companions(losses)
  if losses == 0 then return micro_batch elseif losses == 1 then return math.min(8, micro_batch) else return 1 end
end

local ids, model, pixels, bytes, most = {}, nil, 0, 0, micro_batch

-- 'taken', 'full' (the micro-batch ends here), 'other' (another model: try the next tenant) or 'gone'
local function take(id, lane, tenant)
  local j = read(id, 'status', 'model', 'pixels', 'bytes', 'losses', 'deadline_ms')
  if j[1] ~= 'queued' or tonumber(j[6]) <= NOW then
    leave_line(id, lane, tenant) -- stale, or past its deadline: the sweeper finds it in segue:open
    return 'gone'
  end
  if model and j[2] ~= model then return 'other' end
  local limit = math.min(most, most_companions(tonumber(j[5])))
  local fits = pixels + j[3] <= max_pixels and bytes + j[4] <= max_bytes and #ids < limit
  if #ids > 0 and not fits then return 'full' end
  model, pixels, bytes, most = j[2], pixels + j[3], bytes + j[4], limit
  leave_line(id, lane, tenant)
  table.insert(ids, { id, lane })
  return 'taken'
end

-- Tenants take turns, one job a turn.
local function take_from(lane)
  local turns, place = P .. 'turns:' .. lane, 0
  while #ids < most do
    local tenant = redis.call('ZRANGE', turns, place, place)[1]
    if not tenant then return end
    local id = redis.call('ZRANGE', P .. 'pending:' .. lane .. ':' .. tenant, 0, 0)[1]
    local what = 'gone'
    if id then what = take(id, lane, tenant) else redis.call('ZREM', turns, tenant) end
    if what == 'full' then return end
    if what == 'other' then place = place + 1 end
    if what == 'taken' and redis.call('ZSCORE', turns, tenant) then
      redis.call('ZADD', turns, redis.call('INCR', P .. 'turn'), tenant)
    end
  end
end

for _, id in ipairs(redis.call('LRANGE', claimed, 0, -1)) do
  local j = read(id, 'lane', 'token', 'status')
  if j[2] == token and j[3] == 'running' then table.insert(ids, { id, j[1] }) end
end

if #ids == 0 then
  local first, second = 'interactive', 'bulk'
  local both = redis.call('EXISTS', P .. 'turns:interactive', P .. 'turns:bulk') == 2
  if both and redis.call('INCR', P .. 'claims') % 4 == 0 then first, second = second, first end
  take_from(first)
  take_from(second)
  for _, entry in ipairs(ids) do
    local id, lane = entry[1], entry[2]
    lease(id, lane, token, lease_ms, 'started_ms', NOW, 'worker', worker, 'micro_batch', #ids)
    redis.call('RPUSH', claimed, id)
  end
  redis.call('PEXPIRE', claimed, lease_ms)
end

redis.call('ZADD', P .. 'progress', NOW, worker)
if #ids == 0 then
  redis.call('ZREM', P .. 'drainers', drainer)
else
  redis.call('ZADD', P .. 'drainers', NOW + drainer_ms, drainer)
end
local records = {}
for i, entry in ipairs(ids) do records[i] = redis.call('HGETALL', record(entry[1])) end
return records
