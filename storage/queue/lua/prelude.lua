-- Stands before all functions of the library (storage/queue/functions.py). Redis runs a function whole, so each one is a
-- single transition with one winner.
--
--   segue:job:{id}                  hash    the job: its spec and where it stands
--   segue:pending:{lane}            zset    every waiting id of the lane, by creation (length, oldest)
--   segue:pending:{lane}:{party}:{model}   zset    the same ids, in a line for each party and model that was asked for
--   segue:models:{lane}:{party}     set     models for which the party has such a line
--   segue:turns:{lane}              zset    parties with waiting jobs, by turn; the lowest is next
--   segue:turn                      string  number of the last turn that was given
--   segue:claims                    string  number of claims, by which the lanes take turns
--   segue:leases:{lane}             zset    running ids, by the lease's expiry
--   segue:open                      zset    every id that is not terminal, by deadline
--   segue:retained                  zset    every ended id, by the time until which it is kept
--   segue:unrecorded                zset    ids of what has changed since it was written to the records, by its revision
--   segue:gone:{id}                 string  the tenant of an erased job or batch, for a while
--   segue:epoch                     string  run id of the Redis that is known to be whole
--   segue:keyed                     string  run id of the Redis whose idempotency keys are known to be all there
--   segue:clock                     string  time of the last sweep: how old a state is that comes back
--   segue:workers                   zset    workers, by the time until which their heartbeat counts
--   segue:progress                  zset    workers, by the time of their last progress
--   segue:rate                      hash    the measured pace
--   segue:drainers                  zset    running segment_batch tasks, by expiry
--   segue:engines                   hash    worker → what it has loaded and what it refuses, as JSON
--   segue:refusing:{model}          zset    workers that cannot use an alias or version now, by expiry
--   segue:claim:{token}             list    ids given to a claim, so that its repetition gets the same
--   segue:idem:{tenant}:{hash}      hash    idempotency key: job id, fingerprint, busy_until
--   segue:bound:{id}                string  SHA-256 of the image that a batch's item is stored with, until it has its record
--   segue:limits:…                  string  counters of the rate limits
--   segue:lock:{name}               string  token of the process that is in the block of this name
--   segue:usage:{party}             hash    how many jobs and bytes of uploads are kept for the party
--   segue:rejected                  hash    queue → how many foreign messages were rejected
--   segue:functions                 zset    versions of this library, by the time they were loaded last
--   segue:batch:{id}                hash    name, options, closed, canceled
--   segue:batch:{id}:counts         hash    jobs by status, and the number of the last that ended
--   segue:batch:{id}:jobs           zset    its jobs, in the order they were sent
--   segue:batch:{id}:done           zset    the ended ones, in the order they ended
-- All times are milliseconds of Redis' own clock: one clock for all machines.

local P = 'segue:'
local TICKETS = 'segment'
local MAX_TICKETS = 64
local DAY_MS = 24 * 3600 * 1000
-- For how long a job hash outlives a janitor that does not come. Its usage is counted until the janitor erases it.
local GRACE_MS = 30 * DAY_MS

local function now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local NOW -- set before each call of a function

local function record(id) return P .. 'job:' .. id end

local function binding(id) return P .. 'bound:' .. id end

-- Fields of a hash by their names; those that it lacks are nil.
local function read_hash(key, ...)
  local values, fields = redis.call('HMGET', key, ...), {}
  for i, name in ipairs({ ... }) do fields[name] = values[i] or nil end
  return fields
end

local function read(id, ...) return read_hash(record(id), ...) end

-- With what says in which line it stands. The party takes the turn there: the tenant, unless the job names another.
local function standing(id, ...)
  local j = read(id, 'status', 'lane', 'tenant', 'party', 'model', ...)
  if (j.party or '') == '' then j.party = j.tenant end
  return j
end

local function ended(status) return status and status ~= 'queued' and status ~= 'running' end

-- The counts follow the records because every change of a status comes through here.
local function count_in_batch(batch, id, from, to)
  local counts, done = P .. 'batch:' .. batch .. ':counts', P .. 'batch:' .. batch .. ':done'
  if from then
    redis.call('HINCRBY', counts, from, -1)
  else
    redis.call('ZADD', P .. 'batch:' .. batch .. ':jobs', redis.call('HGET', record(id), 'created_ms'), id)
    redis.call('DEL', binding(id))
  end
  redis.call('HINCRBY', counts, to, 1)
  if ended(to) then redis.call('ZADD', done, redis.call('HINCRBY', counts, 'last', 1), id) end
  if ended(from) then redis.call('ZREM', done, id) end
end

-- Writes the fields and raises the revision, which never goes back, not even after Redis was lost.
local function write(id, status, ...)
  local old = read(id, 'revision', 'status', 'batch_id')
  local revision, batch = math.max(tonumber(old.revision or '0') + 1, NOW), old.batch_id or ''
  redis.call('HSET', record(id), 'status', status, 'revision', string.format('%d', revision), ...)
  if batch ~= '' then count_in_batch(batch, id, old.status, status) end
  redis.call('ZADD', P .. 'unrecorded', revision, id)
  redis.call('PUBLISH', P .. 'events', id .. ' ' .. status .. ' ' .. batch)
end

-- Ended records, and the batch they are of, are kept for the retention; then the janitor erases the job, objects first.
-- The record's own expiry is for a janitor that does not come.
local function retain(id, retention_ms)
  local until_ms = NOW + retention_ms
  redis.call('HSET', record(id), 'retained_until_ms', string.format('%d', until_ms))
  redis.call('ZADD', P .. 'retained', until_ms, id)
  redis.call('PEXPIRE', record(id), retention_ms + GRACE_MS)
  local batch = redis.call('HGET', record(id), 'batch_id')
  if batch and batch ~= '' then
    for _, part in ipairs({ '', ':counts', ':jobs', ':done' }) do
      redis.call('PEXPIRE', P .. 'batch:' .. batch .. part, retention_ms + GRACE_MS)
    end
  end
end

local function line(lane, party, model) return P .. 'pending:' .. lane .. ':' .. party .. ':' .. model end

local function models(lane, party) return P .. 'models:' .. lane .. ':' .. party end

local function wait_in_line(id)
  local j = standing(id, 'created_ms')
  redis.call('ZADD', P .. 'pending:' .. j.lane, j.created_ms, id)
  redis.call('ZADD', line(j.lane, j.party, j.model), j.created_ms, id)
  redis.call('SADD', models(j.lane, j.party), j.model)
  local turns = P .. 'turns:' .. j.lane
  if not redis.call('ZSCORE', turns, j.party) then
    redis.call('ZADD', turns, redis.call('INCR', P .. 'turn'), j.party)
  end
end

-- Not read from the hash: it may be gone.
local function leave_line(id, lane, party, model)
  redis.call('ZREM', P .. 'pending:' .. lane, id)
  redis.call('ZREM', line(lane, party, model), id)
  if redis.call('EXISTS', line(lane, party, model)) == 1 then return end
  redis.call('SREM', models(lane, party), model)
  if redis.call('EXISTS', models(lane, party)) == 0 then redis.call('ZREM', P .. 'turns:' .. lane, party) end
end

-- The party's jobs that Redis knows, and the bytes of their uploads. `sign`: 1 for a new one, -1 for an erased one.
local function count_usage(j, sign)
  local usage = P .. 'usage:' .. j.party
  redis.call('HINCRBY', usage, 'bytes', sign * j.bytes)
  if redis.call('HINCRBY', usage, 'jobs', sign) <= 0 then redis.call('DEL', usage) end
end

-- Neither waiting nor leased nor open.
local function let_go(id, j)
  leave_line(id, j.lane, j.party, j.model)
  redis.call('ZREM', P .. 'leases:' .. j.lane, id)
  redis.call('ZREM', P .. 'open', id)
end

-- The record's idempotency key, if it has one: a repetition must not make another job.
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

-- Back to where it stood: the score is its creation, so it does not lose its place.
local function requeue(id)
  redis.call('ZREM', P .. 'leases:' .. read(id, 'lane').lane, id)
  write(id, 'queued', 'token', '', 'again', '1')
  wait_in_line(id)
end

local function pending()
  return redis.call('ZCARD', P .. 'pending:interactive') + redis.call('ZCARD', P .. 'pending:bulk')
end

-- Tickets in flight but unacknowledged are not counted: they may be a dead worker's.
local function tickets_missing(micro_batch)
  redis.call('ZREMRANGEBYSCORE', P .. 'drainers', '-inf', NOW)
  local under_way = redis.call('LLEN', TICKETS) + redis.call('ZCARD', P .. 'drainers')
  return math.max(0, math.min(math.ceil(pending() / micro_batch), MAX_TICKETS) - under_way)
end
