-- Ends jobs whose result objects are stored. A compare-and-set on (running, token), so one attempt
-- wins. If the winner repeats the call, it gets 'won' again.
-- ARGV: token, worker, busy_ms, retention_ms, micro_batch, run id of this Redis, bytes of masks that may be copied
--       per copy_ms, copy_ms,
--       then for each job: id, status, result key, outcome JSON, the mask if a client waits for it
-- Returns for each job one of:
--   'won'
--   'lost': the job already ended differently or was erased; discard this result
--   'superseded': another attempt holds the open job and may adopt this result
--   'unknown': Redis lost data or went back to an older state; the result object decides, unless
--   the job was erased
local token, worker, busy_ms, retention_ms = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local micro_batch, copy_bytes, copy_ms = tonumber(ARGV[5]), tonumber(ARGV[7]), tonumber(ARGV[8])
local answers, won, pixels = {}, 0, 0
-- The initial costs in milliseconds. Only their ratios matter, because the first micro-batch scales them.
local FIRST = { batch = 20, image = 15, megapixel = 4, submission = 4 }
local intact = redis.call('GET', P .. 'epoch') == ARGV[6]

-- Keeps a copy of a stored mask for the client that waits for it. Redis neither logs nor replicates copies. They
-- expire, so at most 2 * `copy_bytes` of them exist.
local function copy(id, mask)
  local period = P .. 'masked:' .. math.floor(NOW / copy_ms)
  local copied = tonumber(redis.call('GET', period) or 0) + #mask
  if copied > copy_bytes then return end
  redis.set_repl(redis.REPL_NONE)
  redis.call('SET', period, copied, 'PX', copy_ms)
  redis.call('SET', P .. 'mask:' .. id, mask, 'PX', copy_ms)
  redis.set_repl(redis.REPL_ALL)
end

for i = 9, #ARGV, 5 do
  local id, status, key, outcome, mask = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  local j = read(id, 'status', 'token', 'lane', 'result_key', 'pixels')
  if intact and j.status == 'running' and j.token == token then
    redis.call('ZREM', P .. 'leases:' .. j.lane, id)
    redis.call('ZREM', P .. 'open', id)
    if #mask > 0 then copy(id, mask) end -- before the event that wakes the client
    write(id, status, 'finished_ms', NOW, 'result_key', key, 'outcome', outcome)
    retain(id, retention_ms)
    won, pixels = won + 1, pixels + j.pixels
    table.insert(answers, 'won')
  else
    -- The job hash has this result: the call is repeated, or the hash was rebuilt from this object.
    local mine = ended(j.status) and j.result_key == key
    local over = ended(j.status) or redis.call('EXISTS', P .. 'gone:' .. id) == 1
    table.insert(answers, mine and 'won' or over and 'lost' or intact and j.status and 'superseded' or 'unknown')
  end
end

-- How many jobs were submitted during the last `ms` milliseconds, assuming that the burst had a constant rate.
local function submissions(ms)
  local burst = inflow()
  local both = math.min(NOW, burst.last) - math.max(NOW - ms, burst.since)
  return math.max(0, both) * burst.jobs / math.max(SHORTEST_MS, burst.last - burst.since)
end

-- Learns what a micro-batch costs the worker that runs it. If the costs of its parts do not add up to
-- `busy_ms`, each part is corrected by its share in the total. So a micro-batch of large photos mainly
-- corrects the cost of a megapixel, and one during a burst mainly the cost of a submission.
local function learn()
  local amounts = { batch = 1, image = won, megapixel = pixels / 1e6, submission = submissions(busy_ms) }
  local old = read_hash(P .. 'rate',
    'batch', 'image', 'megapixel', 'submission', 'deviation', 'ms_per_image', 'micro_batch')
  local costs, total, squares = {}, 0, 0
  for part, amount in pairs(amounts) do
    costs[part] = tonumber(old[part]) or FIRST[part]
    total = total + costs[part] * amount
  end
  for part, amount in pairs(amounts) do squares = squares + (costs[part] * amount / total) ^ 2 end
  local off = busy_ms / total - 1
  local step = 0.3 * math.min(1, won / micro_batch) * math.min(3, off) / squares
  for part, amount in pairs(amounts) do
    local factor = math.max(0.2, math.min(3, 1 + step * costs[part] * amount / total))
    costs[part] = costs[part] * (old.batch and factor or busy_ms / total)
  end
  local function blend(before, new, weight) return before and before + (new - before) * weight or new end
  local each = costs.batch / micro_batch + costs.image + costs.megapixel * pixels / 1e6 / won
  redis.call('HSET', P .. 'rate',
    'batch', costs.batch, 'image', costs.image, 'megapixel', costs.megapixel, 'submission', costs.submission,
    'deviation', blend(old.batch and tonumber(old.deviation) or 0.15, math.min(3, math.abs(off)), old.batch and 0.05 or 0),
    'ms_per_image', blend(tonumber(old.ms_per_image), each, 0.3 * math.min(1, won / micro_batch)),
    'micro_batch', blend(tonumber(old.micro_batch), won, 0.1))
end

if busy_ms > 0 and won > 0 then
  learn()
  redis.call('ZADD', P .. 'progress', NOW, worker)
end
return answers
