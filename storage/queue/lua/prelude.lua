-- Shared by all functions of the library (storage/queue/functions.py). Redis runs each function
-- atomically, so each is one transition with one winner.
--
--   segue:job:{id}                  hash    the job hash: spec and current state
--   segue:pending:{lane}            zset    all waiting ids of the lane, by creation time
--   segue:pending:{lane}:{party}:{model}   zset    the same ids, one queue per party and requested model
--   segue:models:{lane}:{party}     set     models for which the party has such a queue
--   segue:turns:{lane}              zset    parties with waiting jobs, by turn; the lowest is next
--   segue:turn                      string  number of the last turn
--   segue:pause                     hash    while an operator lets no job be claimed: reason, since_ms
--   segue:refusal                   hash    while an operator lets no work be accepted: reason, since_ms
--   segue:claims                    string  number of claims, by which the lanes take turns
--   segue:leases:{lane}             zset    running ids, by the lease's expiry
--   segue:open                      zset    all open ids, by deadline
--   segue:retained                  zset    all ended ids, by the end of their retention
--   segue:unrecorded                zset    changes not yet written to SQL, by revision
--   segue:gone:{id}                 string  tombstone of an erased job or batch: its tenant
--   segue:mask:{id}                 string  copy of an ended job's mask, for the client that waits (storage/queue/masks.py)
--   segue:masked:{period}           string  bytes of masks copied in a period of ten seconds
--   segue:epoch                     string  run id of the Redis server known to have all jobs
--   segue:keyed                     string  run id of the Redis server known to have all idempotency keys
--   segue:clock                     string  time of the last sweep; after a restart, the age of the data
--   segue:workers                   zset    workers, by the expiry of their heartbeat
--   segue:memory:{worker}           string  bytes that the worker's processes hold; expires like the heartbeat
--   segue:progress                  zset    workers, by the time of their last progress, for a day
--   segue:rate                      hash    the measured costs of a micro-batch
--   segue:inflow                    hash    the current burst of submissions; totals of jobs and pixels submitted
--   segue:drainers                  zset    running segment_batch tasks, by expiry
--   segue:engines                   hash    worker → versions loaded and refused, as JSON
--   segue:refusing:{model}          zset    workers that cannot use an alias or version now, by expiry
--   segue:claim:{token}             list    ids leased to a claim, returned again if it is repeated
--   segue:idem:{tenant}:{hash}      hash    idempotency key: job id, fingerprint, busy_until
--   segue:bound:{id}                string  SHA-256 of the image of a batch's item, until it has its job hash
--   segue:limits:…                  string  counters of the rate limits
--   segue:lock:{name}               string  token of the process that holds the lock
--   segue:usage:{party}             hash    the party's stored jobs, and the bytes of their uploads
--   segue:rejected                  hash    queue → how many foreign messages were rejected
--   segue:counters                  hash    how often each transition happened (storage/queue/counters.py)
--   segue:rollout:{id}              hash    what a rollout has counted (storage/rollouts/counts.py)
--   segue:inputs:{version}:{profile}:{hour}   hash   photos in each bin of the version's profile (storage/inputs/)
--   segue:training:erasing          zset    tenant/id of jobs whose training copies are being erased, by time
--   segue:functions                 zset    versions of this library, by the time of their last load
--   segue:batch:{id}                hash    name, options, closed, canceled
--   segue:batch:{id}:counts         hash    jobs by status, and `last`, the number of the last ending
--   segue:batch:{id}:jobs           zset    its jobs, by creation time
--   segue:batch:{id}:done           zset    its ended jobs, by the number of their ending
-- All times are milliseconds by Redis' clock, the only clock for all machines.

local P = 'segue:'
local TICKETS = 'segment'
local MAX_TICKETS = 64
local DAY_MS = 24 * 3600 * 1000
-- How long a job hash outlives its retention if no janitor runs. A party's usage includes the job until
-- the janitor erases it.
local GRACE_MS = 30 * DAY_MS

local function now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local NOW -- set before each call of a function

local function job_key(id) return P .. 'job:' .. id end

local function binding(id) return P .. 'bound:' .. id end

-- A table of the named fields of a hash; missing ones are nil.
local function read_hash(key, ...)
  local values, fields = redis.call('HMGET', key, ...), {}
  for i, name in ipairs({ ... }) do fields[name] = values[i] or nil end
  return fields
end

local function read(id, ...) return read_hash(job_key(id), ...) end

-- Reads the given fields and those that determine the job's queue. `party` defaults to the tenant.
local function read_with_queue(id, ...)
  local j = read(id, 'status', 'lane', 'tenant', 'party', 'model', ...)
  if (j.party or '') == '' then j.party = j.tenant end
  return j
end

local function ended(status) return status and status ~= 'queued' and status ~= 'running' end

-- Adds to a counter for Prometheus. A process that is killed takes its own counters with it, but these
-- change together with the job hashes, and so always agree with them.
local function count(name, amount) redis.call('HINCRBY', P .. 'counters', name, amount or 1) end

-- The problem code of a failed job. No malformed outcome may stop a transition half-way.
local function failure_code(id)
  local ok, outcome = pcall(cjson.decode, redis.call('HGET', job_key(id), 'outcome') or '')
  local problem = ok and type(outcome) == 'table' and outcome.error
  return type(problem) == 'table' and tostring(problem.code) or 'unknown'
end

local ROLLOUT_KEPT_S = 30 * 24 * 3600
-- Other failures have their cause in the photo or in the object store, not in the model version.
local MODEL_FAULTS = { internal = true, poisoned = true }

-- Counts an event of a job that a rollout has given to one of its arms. `arm`: "{rollout}:{step}:{arm}", or empty.
local function count_in_rollout(arm, name)
  local rollout, step, side = string.match(arm or '', '^(.+):(%d+):(%a+)$')
  if not rollout then return end
  local key = P .. 'rollout:' .. rollout
  redis.call('HSETNX', key, 'generation', NOW)
  redis.call('HINCRBY', key, step .. ':' .. side .. '.' .. name, 1)
  redis.call('EXPIRE', key, ROLLOUT_KEPT_S)
end

-- Until the job ends, its first lost lease is a loss that its arm has not explained.
local function count_loss(id)
  local j = read(id, 'arm', 'lost_in')
  if j.lost_in or (j.arm or '') == '' then return end
  redis.call('HSET', job_key(id), 'lost_in', j.arm)
  count_in_rollout(j.arm, 'lost')
end

local function count_ending(id, status)
  count('ended:' .. status)
  local code = status == 'failed' and failure_code(id)
  if code then count('failed:' .. code) end
  local j = read(id, 'arm', 'lost_in')
  if status == 'succeeded' or MODEL_FAULTS[code] then count_in_rollout(j.arm, 'ended') end
  if MODEL_FAULTS[code] then count_in_rollout(j.arm, 'failed') end
  count_in_rollout(j.lost_in, 'settled')
end

-- Every change of a status calls this, so a batch's counts agree with its job hashes.
local function count_in_batch(batch, id, from, to)
  local counts, done = P .. 'batch:' .. batch .. ':counts', P .. 'batch:' .. batch .. ':done'
  if from then
    redis.call('HINCRBY', counts, from, -1)
  else
    redis.call('ZADD', P .. 'batch:' .. batch .. ':jobs', redis.call('HGET', job_key(id), 'created_ms'), id)
    redis.call('DEL', binding(id))
  end
  redis.call('HINCRBY', counts, to, 1)
  if ended(to) then redis.call('ZADD', done, redis.call('HINCRBY', counts, 'last', 1), id) end
  if ended(from) then redis.call('ZREM', done, id) end
end

-- Writes the fields and raises the revision, which never decreases, not even after a loss of Redis.
local function write(id, status, ...)
  local old = read(id, 'revision', 'status', 'batch_id')
  local revision, batch = math.max(tonumber(old.revision or '0') + 1, NOW), old.batch_id or ''
  redis.call('HSET', job_key(id), 'status', status, 'revision', string.format('%d', revision), ...)
  if batch ~= '' then count_in_batch(batch, id, old.status, status) end
  if ended(status) and not ended(old.status) then count_ending(id, status) end
  redis.call('ZADD', P .. 'unrecorded', revision, id)
  redis.call('PUBLISH', P .. 'events', id .. ' ' .. status .. ' ' .. batch)
end

-- Keeps an ended job, and its batch, for the retention; then the janitor erases the job, objects
-- first. The expiry of the hash is a fallback for when no janitor runs.
local function retain(id, retention_ms)
  local until_ms = NOW + retention_ms
  redis.call('HSET', job_key(id), 'retained_until_ms', string.format('%d', until_ms))
  redis.call('ZADD', P .. 'retained', until_ms, id)
  redis.call('PEXPIRE', job_key(id), retention_ms + GRACE_MS)
  local batch = redis.call('HGET', job_key(id), 'batch_id')
  if batch and batch ~= '' then
    for _, part in ipairs({ '', ':counts', ':jobs', ':done' }) do
      redis.call('PEXPIRE', P .. 'batch:' .. batch .. part, retention_ms + GRACE_MS)
    end
  end
end

local INFLOW = P .. 'inflow'
local MEMORY_MS = 60000 -- of a longer burst, half is forgotten
local BREAK_MS = 1000 -- a burst ends after a longer pause between submissions
local SHORTEST_MS = 200 -- a younger burst counts as this old when its rate is computed

-- The current or last burst: the time of its first and of its last submission, and its number of jobs.
local function inflow()
  local burst = read_hash(INFLOW, 'since', 'last', 'jobs')
  return { since = tonumber(burst.since or 0), last = tonumber(burst.last or 0), jobs = tonumber(burst.jobs or 0) }
end

local function queue_key(lane, party, model) return P .. 'pending:' .. lane .. ':' .. party .. ':' .. model end

local function models(lane, party) return P .. 'models:' .. lane .. ':' .. party end

local function add_to_pending(id)
  local j = read_with_queue(id, 'created_ms')
  redis.call('ZADD', P .. 'pending:' .. j.lane, j.created_ms, id)
  redis.call('ZADD', queue_key(j.lane, j.party, j.model), j.created_ms, id)
  redis.call('SADD', models(j.lane, j.party), j.model)
  local turns = P .. 'turns:' .. j.lane
  if not redis.call('ZSCORE', turns, j.party) then
    redis.call('ZADD', turns, redis.call('INCR', P .. 'turn'), j.party)
  end
end

-- Takes the parameters from the caller, because the job hash may be gone.
local function remove_from_pending(id, lane, party, model)
  redis.call('ZREM', P .. 'pending:' .. lane, id)
  redis.call('ZREM', queue_key(lane, party, model), id)
  if redis.call('EXISTS', queue_key(lane, party, model)) == 1 then return end
  redis.call('SREM', models(lane, party), model)
  if redis.call('EXISTS', models(lane, party)) == 0 then redis.call('ZREM', P .. 'turns:' .. lane, party) end
end

-- Adds a job to its party's usage, or subtracts it. `sign`: 1 for a new job, -1 for an erased one.
local function count_usage(j, sign)
  local usage = P .. 'usage:' .. j.party
  redis.call('HINCRBY', usage, 'bytes', sign * j.bytes)
  if redis.call('HINCRBY', usage, 'jobs', sign) <= 0 then redis.call('DEL', usage) end
end

-- After this the job is not waiting, leased or open.
local function remove_from_queues(id, j)
  remove_from_pending(id, j.lane, j.party, j.model)
  redis.call('ZREM', P .. 'leases:' .. j.lane, id)
  redis.call('ZREM', P .. 'open', id)
end

-- Binds the job's idempotency key, if any, so that a repeated request does not create another job.
local function remember_key(id, ttl_ms)
  local j = read(id, 'tenant', 'key_hash', 'fingerprint')
  if (j.key_hash or '') == '' then return end
  local idem = P .. 'idem:' .. j.tenant .. ':' .. j.key_hash
  redis.call('HSET', idem, 'id', id, 'fingerprint', j.fingerprint, 'busy_until', '0')
  redis.call('PEXPIRE', idem, ttl_ms)
end

local function lease(id, lane, token, lease_ms, ...)
  redis.call('ZADD', P .. 'leases:' .. lane, NOW + lease_ms, id)
  write(id, 'running', 'token', token, ...)
end

-- Returns a leased job to the queue. The score is its creation time, so it keeps its place.
local function requeue(id)
  redis.call('ZREM', P .. 'leases:' .. read(id, 'lane').lane, id)
  write(id, 'queued', 'token', '', 'again', '1')
  add_to_pending(id)
end

local function pending()
  return redis.call('ZCARD', P .. 'pending:interactive') + redis.call('ZCARD', P .. 'pending:bulk')
end

local function is_paused() return redis.call('EXISTS', P .. 'pause') == 1 end

-- Does not count unacknowledged tickets, which may belong to a dead worker.
local function tickets_missing(micro_batch)
  if is_paused() then return 0 end -- a ticket would find nothing to claim
  redis.call('ZREMRANGEBYSCORE', P .. 'drainers', '-inf', NOW)
  local under_way = redis.call('LLEN', TICKETS) + redis.call('ZCARD', P .. 'drainers')
  return math.max(0, math.min(math.ceil(pending() / micro_batch), MAX_TICKETS) - under_way)
end
