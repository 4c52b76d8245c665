-- Requeues jobs whose leases expired. Leases to the sweeper the jobs that must end: cancelled, past
-- their deadline, or poisoned (lost too often while running without other jobs).
-- ARGV: token, lease_ms, limit per kind, losses without other jobs that make a job poisoned
-- Returns {{requeued id, …}, {{id, cause}, …}}
local token, lease_ms, at_most, poison = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local back, ending = {}, {}
redis.call('SET', P .. 'clock', string.format('%d', NOW))

local function cause(id)
  local j = read(id, 'cancel', 'deadline_ms', 'losses_isolated')
  if j.cancel == '1' then return 'canceled' end
  if tonumber(j.deadline_ms) <= NOW then return 'expired' end
  if (tonumber(j.losses_isolated) or 0) >= poison then return 'poisoned' end
end

local function seize(id, lane, why)
  lease(id, lane, token, lease_ms, 'micro_batch', 0)
  table.insert(ending, { id, why })
end

for _, lane in ipairs({ 'interactive', 'bulk' }) do
  local leases = P .. 'leases:' .. lane
  for _, id in ipairs(redis.call('ZRANGE', leases, '-inf', NOW, 'BYSCORE', 'LIMIT', 0, at_most)) do
    local j = read(id, 'status', 'micro_batch', 'isolated', 'worker', 'started_ms', 'lost')
    if j.status ~= 'running' then
      redis.call('ZREM', leases, id)
    else
      -- micro_batch 0: the lease was not a worker's but a sweeper's or canceler's. It does not count.
      if j.micro_batch ~= '0' then
        local lost = string.format('%s %s %d;', j.worker or '-', j.started_ms or '0', NOW)
        redis.call('HINCRBY', job_key(id), 'losses', 1)
        count('leases_lost')
        count_loss(id)
        redis.call('HSET', job_key(id), 'lost', (j.lost or '') .. lost)
        if j.isolated == '1' then redis.call('HINCRBY', job_key(id), 'losses_isolated', 1) end
      end
      local why = cause(id)
      if why then seize(id, lane, why) else requeue(id); table.insert(back, id) end
    end
  end
end

for _, id in ipairs(redis.call('ZRANGE', P .. 'open', '-inf', NOW, 'BYSCORE', 'LIMIT', 0, at_most)) do
  local j = read_with_queue(id)
  if j.status == 'queued' then
    remove_from_pending(id, j.lane, j.party, j.model)
    seize(id, j.lane, 'expired')
  elseif j.status ~= 'running' then
    redis.call('ZREM', P .. 'open', id)
  end
end
return { back, ending }
