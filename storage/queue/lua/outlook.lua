-- How many jobs would be claimed before this one if nothing more were submitted, and the pace. The
-- cost grows with the number of parties, not with the queue.
-- ARGV: id, micro_batch
-- Returns {position (-1: not waiting), running jobs, live workers, live workers that cannot use its
--   model, mean pixels of the photos ahead, jobs in the current burst of submissions, milliseconds since it
--   began (0: no burst), the reason of a pause (empty: none); then, once measured: the costs batch, image,
--   megapixel, submission, and their deviation}
local id, n = ARGV[1], tonumber(ARGV[2])

-- The sum of `count` over all queues of a party in the lane.
local function total(lane, party, count)
  local sum = 0
  for _, model in ipairs(redis.call('SMEMBERS', models(lane, party))) do sum = sum + count(queue_key(lane, party, model)) end
  return sum
end

local function length(key) return redis.call('ZCARD', key) end

-- Before a job of rank r, every other party of the lane has r turns, plus one if its turn is earlier.
local function place_in_lane(lane, party, model)
  local own, created_ms = queue_key(lane, party, model), read(id, 'created_ms').created_ms
  if not redis.call('ZSCORE', own, id) then return end
  local rank = total(lane, party, function(key)
    return key == own and redis.call('ZRANK', own, id) or redis.call('ZCOUNT', key, '-inf', '(' .. created_ms)
  end)
  local turns = redis.call('ZRANGE', P .. 'turns:' .. lane, 0, -1)
  local place, extra = rank, 1
  for _, other in ipairs(turns) do
    if other == party then
      extra = 0
    else
      place = place + math.min(total(lane, other, length), rank + extra)
    end
  end
  return place
end

-- How many claims that start with the other lane precede the claim that reaches this place. While
-- both lanes have jobs, every fourth claim starts with bulk.
local function others_claims(lane, place)
  local mine = math.floor(place / n) + 1
  local until_bulk = 3 - tonumber(redis.call('GET', P .. 'claims') or '0') % 4
  if lane == 'bulk' then return until_bulk + 3 * (mine - 1) end
  if mine <= until_bulk then return 0 end
  return 1 + math.floor((mine - until_bulk - 1) / 3)
end

-- The mean size, in pixels, of the photos submitted after the oldest waiting one, up to this one.
local function mean_pixels(j)
  local oldest = redis.call('ZRANGE', P .. 'pending:' .. (j.lane or ''), 0, 0)[1]
  local last = read(id, 'pixels', 'sum_jobs', 'sum_pixels')
  local first = oldest and read(oldest, 'sum_jobs', 'sum_pixels') or {}
  local jobs = tonumber(last.sum_jobs or 0) - tonumber(first.sum_jobs or last.sum_jobs or 0)
  if jobs <= 0 then return last.pixels or 0 end
  return (last.sum_pixels - first.sum_pixels) / jobs
end

local position = -1
local j = read_with_queue(id)
local place = j.status == 'queued' and place_in_lane(j.lane, j.party, j.model)
if place then
  local other = j.lane == 'bulk' and 'interactive' or 'bulk'
  local waiting = redis.call('ZCARD', P .. 'pending:' .. other)
  position = place + math.min(waiting, n * others_claims(j.lane, place))
end
local running = redis.call('ZCARD', P .. 'leases:interactive') + redis.call('ZCARD', P .. 'leases:bulk')
local workers = redis.call('ZCOUNT', P .. 'workers', NOW, '+inf')
local refusing = redis.call('ZCOUNT', P .. 'refusing:' .. (j.model or ''), NOW, '+inf')
local rate = redis.call('HMGET', P .. 'rate', 'batch', 'image', 'megapixel', 'submission', 'deviation')
local burst = inflow()
local under_way = NOW - burst.last <= BREAK_MS and math.max(SHORTEST_MS, NOW - burst.since) or 0
local pause = redis.call('HGET', P .. 'pause', 'reason') or ''
local answer = { position, running, workers, refusing, tostring(mean_pixels(j)), burst.jobs, under_way, pause }
if rate[1] then for _, cost in ipairs(rate) do table.insert(answer, cost) end end
return answer
