-- The result objects are stored: the holders' jobs become terminal. A compare-and-set on (running, token), so one
-- attempt wins; repeated by the winner it answers 'won' again.
-- ARGV: token, worker, busy_ms, retention_ms, micro_batch, run id of this Redis,
--       then for each job: id, status, result key, outcome JSON
-- → for each job 'won', 'lost' (it ended otherwise, or was erased: this result is nobody's), 'superseded' (it is open, and not
--   the caller's: who has it may take this result) or 'unknown' (Redis was lost, or an older state is back: the result object
--   is the truth, or the job was erased)
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
    -- Its own result is the record's: it has handed it in before, or the record was made again from that very object.
    local mine = ended(j.status) and j.result_key == key
    local over = ended(j.status) or redis.call('EXISTS', P .. 'gone:' .. id) == 1
    table.insert(answers, mine and 'won' or over and 'lost' or intact and j.status and 'superseded' or 'unknown')
  end
end

-- The measured pace: milliseconds of one busy worker per image, how far single micro-batches lie from it, and images per
-- micro-batch, as moving averages. An image alone costs several times its share of a full micro-batch, and a queue is worked
-- off in full ones: once there is a measurement of those, small ones do not count.
-- `best` is the fastest such average lately: what is to be expected once nothing else takes the workers' cores. It gives way
-- slowly, so that it follows a lasting change.
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
