-- Ends jobs whose result objects are stored. A compare-and-set on (running, token), so one attempt
-- wins. If the winner repeats the call, it gets 'won' again.
-- ARGV: token, worker, busy_ms, retention_ms, micro_batch, run id of this Redis,
--       then for each job: id, status, result key, outcome JSON
-- Returns for each job one of:
--   'won'
--   'lost': the job already ended differently or was erased; discard this result
--   'superseded': another attempt holds the open job and may adopt this result
--   'unknown': Redis lost data or went back to an older state; the result object decides, unless
--   the job was erased
local token, worker, busy_ms, retention_ms = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local micro_batch = tonumber(ARGV[5])
local answers, won = {}, 0
local intact = redis.call('GET', P .. 'epoch') == ARGV[6]
for i = 7, #ARGV, 4 do
  local id, status, key, outcome = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local j = read(id, 'status', 'token', 'lane', 'result_key')
  if intact and j.status == 'running' and j.token == token then
    redis.call('ZREM', P .. 'leases:' .. j.lane, id)
    redis.call('ZREM', P .. 'open', id)
    write(id, status, 'finished_ms', NOW, 'result_key', key, 'outcome', outcome)
    retain(id, retention_ms)
    won = won + 1
    table.insert(answers, 'won')
  else
    -- The job hash has this result: the call is repeated, or the hash was rebuilt from this object.
    local mine = ended(j.status) and j.result_key == key
    local over = ended(j.status) or redis.call('EXISTS', P .. 'gone:' .. id) == 1
    table.insert(answers, mine and 'won' or over and 'lost' or intact and j.status and 'superseded' or 'unknown')
  end
end

-- Updates the moving averages: milliseconds per image of one busy worker, the mean deviation of
-- micro-batches from it, and images per micro-batch. A single image costs several times its share
-- of a full micro-batch, and a queue is processed in full ones. So after the first full
-- micro-batch, smaller ones no longer count.
-- `best` is the fastest recent average: the pace to expect once nothing else uses the workers'
-- cores. It rises slowly, so that it follows a lasting slowdown.
local function pace()
  local old = read_hash(P .. 'rate', 'ms_per_image', 'deviation', 'micro_batch', 'full', 'best')
  local function blend(before, new, weight) return before and before + (new - before) * weight or new end
  redis.call('HSET', P .. 'rate', 'micro_batch', blend(tonumber(old.micro_batch), won, 0.1))
  local full, ms = won * 2 >= micro_batch, busy_ms / won
  if old.full == '1' and not full then return end
  local before = (old.full == '1' or not full) and tonumber(old.ms_per_image)
  local average = blend(before, ms, math.min(0.5, won / 64))
  redis.call('HSET', P .. 'rate',
    'ms_per_image', average,
    'deviation', before and blend(tonumber(old.deviation), math.abs(ms - before), 0.1) or ms / 4,
    'best', before and math.min(average, blend(tonumber(old.best), average, 0.002)) or average,
    'full', full and '1' or '0')
end

if busy_ms > 0 and won > 0 then
  pace()
  redis.call('ZADD', P .. 'progress', NOW, worker)
end
return answers
