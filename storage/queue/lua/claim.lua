-- Leases up to `micro_batch` waiting jobs of one model version to the caller's token. The same
-- token gets the same jobs again, so a lost reply orphans no job. A claim that finds nothing
-- removes its drainer in the same call: a later submit sees no drainer and sends a ticket.
-- ARGV: token, drainer, worker, micro_batch, max pixels, max bytes, lease_ms, drainer_ms,
--       the worker's models: {"aliases": {alias: version}, "refused": {alias or version: true},
--       "canary": {"version", "below", "trial", "shadow", "loaded"} while a rollout runs},
--       run id of this Redis
-- Returns {job hash, …}, each as a flat list of fields and values. The field `shadow` is added if the
-- canary is to segment the photo too.
local token, drainer, worker = ARGV[1], ARGV[2], ARGV[3]
local micro_batch, max_pixels, max_bytes = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local lease_ms, drainer_ms = tonumber(ARGV[7]), tonumber(ARGV[8])
local ISOLATED_FROM = 2
local claimed, offer = P .. 'claim:' .. token, cjson.decode(ARGV[9])

-- After its first lost lease a job runs with few others, after further ones alone in the process. So
-- a job that crashes workers is found, and the jobs beside it can succeed.
local function most_companions(losses)
  if losses == 0 then return micro_batch elseif losses < ISOLATED_FROM then return math.min(8, micro_batch) else return 1 end
end

local ids, version, pixels, bytes, most = {}, nil, 0, 0, micro_batch

-- During a rollout, the last digits of its id decide which version a job of `stable` gets. So another
-- attempt gets the same version as long as the share stays the same.
local function is_canary(id) return tonumber(string.sub(id, -4), 16) < offer.canary.below end

-- Four other digits choose some of stable's jobs, whose photos the canary segments too. None while an
-- interactive job waits. A job that has lost a lease is not chosen, so a canary that crashes on a photo
-- does so once.
local function is_shadowed(id, losses)
  local chosen = tonumber(string.sub(id, -8, -5), 16) < offer.canary.shadow
  return chosen and losses == 0 and redis.call('EXISTS', P .. 'pending:interactive') == 0
end

local function has_arms(model) return offer.canary and model == 'stable' end

local function chooses(model) return has_arms(model) and offer.canary.loaded end

-- Until this worker has loaded the canary, stable serves its jobs, but not one that was lost with the canary:
-- the evidence must see how that one ends.
local function is_left_to_others(id, model)
  if not has_arms(model) or offer.canary.loaded or not is_canary(id) then return false end
  return string.match(read(id, 'lost_in').lost_in or '', ':(%a+)$') == 'canary'
end

local function resolved(id, model)
  if chooses(model) and is_canary(id) then return offer.canary.version end
  return offer.aliases[model] or model
end

local function usable(id, model)
  local mine = resolved(id, model)
  if offer.refused[model] or offer.refused[mine] or (version and mine ~= version) then return false end
  return not is_left_to_others(id, model)
end

-- The oldest job of a queue that this worker can take into this micro-batch: id, creation time, and
-- whether the queue is empty. During a rollout the jobs of both versions wait in one queue. So it looks
-- at the oldest jobs, four micro-batches of them, and skips those of the other version.
local function first_usable(queue, model)
  local rows = redis.call('ZRANGE', queue, 0, has_arms(model) and 4 * micro_batch or 0, 'WITHSCORES')
  for i = 1, #rows, 2 do
    if usable(rows[i], model) then return rows[i], tonumber(rows[i + 1]) end
  end
  return nil, nil, not rows[1]
end

-- The party's oldest job that this worker can take into this micro-batch: id, model
local function oldest(lane, party)
  local id, model, since
  for _, asked in ipairs(redis.call('SMEMBERS', models(lane, party))) do
    local found, created, empty = first_usable(queue_key(lane, party, asked), asked)
    if empty then
      redis.call('SREM', models(lane, party), asked) -- its queue was deleted
    elseif found and (not since or created < since) then
      id, model, since = found, asked, created
    end
  end
  return id, model
end

-- 'taken', 'full' (the micro-batch ends here) or 'gone'
local function take(id, lane, party, model)
  local j = read(id, 'status', 'pixels', 'bytes', 'losses', 'deadline_ms', 'arm')
  if j.status ~= 'queued' or tonumber(j.deadline_ms) <= NOW then
    remove_from_pending(id, lane, party, model) -- stale, or past its deadline: the sweeper finds it in segue:open
    return 'gone'
  end
  local limit = math.min(most, most_companions(tonumber(j.losses)))
  local fits = pixels + j.pixels <= max_pixels and bytes + j.bytes <= max_bytes and #ids < limit
  if #ids > 0 and not fits then return 'full' end
  version, pixels, bytes, most = resolved(id, model), pixels + j.pixels, bytes + j.bytes, limit
  remove_from_pending(id, lane, party, model)
  local arm = chooses(model) and offer.canary.trial .. (is_canary(id) and ':canary' or ':stable') or j.arm and ''
  local shadow = chooses(model) and not is_canary(id) and is_shadowed(id, tonumber(j.losses))
  local isolated = tonumber(j.losses) >= ISOLATED_FROM and '1' or '0'
  table.insert(ids, { id = id, lane = lane, arm = arm, shadow = shadow, isolated = isolated })
  return 'taken'
end

-- Parties take turns, one job per turn.
local function take_from(lane)
  local turns, place = P .. 'turns:' .. lane, 0
  while #ids < most do
    local party = redis.call('ZRANGE', turns, place, place)[1]
    if not party then return end
    local id, model = oldest(lane, party)
    local what = id and take(id, lane, party, model)
    if what == 'full' then return end
    if not id and redis.call('EXISTS', models(lane, party)) == 0 then
      redis.call('ZREM', turns, party)
    elseif not id then
      place = place + 1 -- the party has no job for this worker or this micro-batch
    end
    if what == 'taken' and redis.call('ZSCORE', turns, party) then
      redis.call('ZADD', turns, redis.call('INCR', P .. 'turn'), party)
    end
  end
end

for _, id in ipairs(redis.call('LRANGE', claimed, 0, -1)) do
  local j = read(id, 'lane', 'token', 'status')
  if j.token == token and j.status == 'running' then table.insert(ids, { id = id, lane = j.lane }) end
end

-- Claim nothing during a pause, nor while Redis may be in an older state, in which ended jobs still wait.
if #ids == 0 and not is_paused() and redis.call('GET', P .. 'epoch') == ARGV[10] then
  local first, second = 'interactive', 'bulk'
  local both = redis.call('EXISTS', P .. 'turns:interactive', P .. 'turns:bulk') == 2
  if both and redis.call('INCR', P .. 'claims') % 4 == 0 then first, second = second, first end
  take_from(first)
  take_from(second)
  for _, entry in ipairs(ids) do
    lease(entry.id, entry.lane, token, lease_ms,
      'started_ms', NOW, 'worker', worker, 'micro_batch', #ids, 'isolated', entry.isolated)
    if entry.arm then redis.call('HSET', job_key(entry.id), 'arm', entry.arm) end
    redis.call('RPUSH', claimed, entry.id)
  end
  redis.call('PEXPIRE', claimed, lease_ms)
  if #ids > 0 then count('attempts', #ids) end
end

redis.call('ZADD', P .. 'progress', NOW, worker)
if #ids == 0 then
  redis.call('ZREM', P .. 'drainers', drainer)
else
  redis.call('ZADD', P .. 'drainers', NOW + drainer_ms, drainer)
end
local records = {}
for i, entry in ipairs(ids) do
  records[i] = redis.call('HGETALL', job_key(entry.id))
  if entry.shadow then
    table.insert(records[i], 'shadow')
    table.insert(records[i], '1')
  end
end
return records
