#!lua flags=allow-oom
-- The result objects are stored: the holders' jobs become terminal. A compare-and-set on (running, token), so one
-- attempt wins; repeated by the winner it answers 'won' again.
-- ARGV: token, worker, busy_ms, retention_ms, then for each job: id, status, result key, outcome JSON
-- → for each job 'won', 'lost' (to another attempt) or 'unknown' (Redis was lost: the result object is the truth)
local token, worker, busy_ms, retention_ms = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local answers, won = {}, 0
for i = 5, #ARGV, 4 do
  local id, status, key, outcome = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local j = read(id, 'status', 'token', 'lane')
  if j[1] == 'running' and j[2] == token then
    redis.call('ZREM', P .. 'leases:' .. j[3], id)
    redis.call('ZREM', P .. 'open', id)
    write(id, status, 'finished_ms', NOW, 'result_key', key, 'outcome', outcome)
    retain(id, retention_ms)
    won = won + 1
    table.insert(answers, 'won')
  else
    local repeated = j[2] == token and j[1] and j[1] ~= 'queued'
    table.insert(answers, repeated and 'won' or j[1] and 'lost' or 'unknown')
  end
end

-- The measured pace: milliseconds of one busy worker per image, and images per micro-batch, as moving averages.
if busy_ms > 0 and won > 0 then
  local rate = redis.call('HMGET', P .. 'rate', 'ms_per_image', 'micro_batch')
  local function blend(old, new, weight) return old and old + (new - old) * weight or new end
  redis.call('HSET', P .. 'rate',
    'ms_per_image', blend(tonumber(rate[1]), busy_ms / won, math.min(0.5, won / 64)),
    'micro_batch', blend(tonumber(rate[2]), won, 0.1))
  redis.call('ZADD', P .. 'progress', NOW, worker)
end
return answers
