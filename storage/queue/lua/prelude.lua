-- Stands before every script. Redis runs a script whole, so each one is a single transition with one winner.
--
--   segue:job:{id}                  hash    the record
--   segue:pending:{lane}            zset    every waiting id of the lane, by creation (length, oldest)
--   segue:pending:{lane}:{tenant}:{model}   zset    the same ids, in a line for each tenant and model that was asked for
--   segue:models:{lane}:{tenant}    set     models for which the tenant has such a line
--   segue:turns:{lane}              zset    tenants with waiting jobs, by turn; the lowest is next
--   segue:leases:{lane}             zset    running ids, by the lease's expiry
--   segue:open                      zset    every id that is not terminal, by deadline
--   segue:retained                  zset    every ended id, by the time until which it is kept
--   segue:unrecorded                zset    ids of what has changed since it was written to the records, by its revision
--   segue:gone:{id}                 string  the tenant of an erased job, for a while
--   segue:epoch                     string  run id of the Redis that is known to be whole
--   segue:keyed                     string  run id of the Redis whose idempotency keys are known to be all there
--   segue:clock                     string  time of the last sweep: how old a state is that comes back
--   segue:drainers                  zset    running segment_batch tasks, by expiry
--   segue:engines                   hash    worker → what it has loaded and what it refuses, as JSON
--   segue:refusing:{model}          zset    workers that cannot use an alias or version now, by expiry
--   segue:claim:{token}             list    ids given to a claim, so that its repetition gets the same
--   segue:idem:{tenant}:{hash}      hash    idempotency key: job id, fingerprint, busy_until
--   segue:bound:{id}                string  SHA-256 of the image that a batch's item is stored with, until it has its record
--   segue:limits:…                  string  counters of the rate limits, written by the web's library
--   segue:batch:{id}                hash    name, options, closed, canceled
--   segue:batch:{id}:counts         hash    jobs by status, and the number of the last that ended
--   segue:batch:{id}:jobs           zset    its jobs, in the order they were sent
--   segue:batch:{id}:done           zset    the ended ones, in the order they ended
-- All times are milliseconds of Redis' own clock: one clock for all machines.

local P = 'segue:'
local TICKETS = 'segment'
local MAX_TICKETS = 64
local DAY_MS = 24 * 3600 * 1000

local function now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local NOW = now()

local function record(id) return P .. 'job:' .. id end

local function binding(id) return P .. 'bound:' .. id end

local function read(id, ...) return redis.call('HMGET', record(id), ...) end

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
  local revision, batch = math.max(tonumber(old[1] or '0') + 1, NOW), old[3] or ''
  redis.call('HSET', record(id), 'status', status, 'revision', string.format('%d', revision), ...)
  if batch ~= '' then count_in_batch(batch, id, old[2], status) end
  redis.call('ZADD', P .. 'unrecorded', revision, id)
  redis.call('PUBLISH', P .. 'events', id .. ' ' .. status .. ' ' .. batch)
end

-- Ended records, and the batch they are of, are kept for the retention; then the janitor erases the job, objects first.
-- The record's own expiry is for a janitor that does not come.
local function retain(id, retention_ms)
  local until_ms = NOW + retention_ms
  redis.call('HSET', record(id), 'retained_until_ms', string.format('%d', until_ms))
  redis.call('ZADD', P .. 'retained', until_ms, id)
  redis.call('PEXPIRE', record(id), retention_ms + DAY_MS)
  local batch = redis.call('HGET', record(id), 'batch_id')
  if batch and batch ~= '' then
    for _, part in ipairs({ '', ':counts', ':jobs', ':done' }) do
      redis.call('PEXPIRE', P .. 'batch:' .. batch .. part, retention_ms + DAY_MS)
    end
  end
end

local function line(lane, tenant, model) return P .. 'pending:' .. lane .. ':' .. tenant .. ':' .. model end

local function models(lane, tenant) return P .. 'models:' .. lane .. ':' .. tenant end

local function wait_in_line(id)
  local j = read(id, 'lane', 'tenant', 'model', 'created_ms')
  local lane, tenant, model, created_ms = j[1], j[2], j[3], j[4]
  redis.call('ZADD', P .. 'pending:' .. lane, created_ms, id)
  redis.call('ZADD', line(lane, tenant, model), created_ms, id)
  redis.call('SADD', models(lane, tenant), model)
  local turns = P .. 'turns:' .. lane
  if not redis.call('ZSCORE', turns, tenant) then
    redis.call('ZADD', turns, redis.call('INCR', P .. 'turn'), tenant)
  end
end

-- Not read from the record: it may be gone.
local function leave_line(id, lane, tenant, model)
  redis.call('ZREM', P .. 'pending:' .. lane, id)
  redis.call('ZREM', line(lane, tenant, model), id)
  if redis.call('EXISTS', line(lane, tenant, model)) == 1 then return end
  redis.call('SREM', models(lane, tenant), model)
  if redis.call('EXISTS', models(lane, tenant)) == 0 then redis.call('ZREM', P .. 'turns:' .. lane, tenant) end
end

-- Neither waiting nor leased nor open.
local function let_go(id, lane, tenant, model)
  leave_line(id, lane, tenant, model)
  redis.call('ZREM', P .. 'leases:' .. lane, id)
  redis.call('ZREM', P .. 'open', id)
end

-- The record's idempotency key, if it has one: a repetition must not make another job.
local function remember_key(id, ttl_ms)
  local j = read(id, 'tenant', 'key_hash', 'fingerprint')
  if (j[2] or '') == '' then return end
  local idem = P .. 'idem:' .. j[1] .. ':' .. j[2]
  redis.call('HSET', idem, 'id', id, 'fingerprint', j[3], 'busy_until', '0')
  redis.call('PEXPIRE', idem, ttl_ms)
end

local function lease(id, lane, token, lease_ms, ...)
  redis.call('ZADD', P .. 'leases:' .. lane, NOW + lease_ms, id)
  write(id, 'running', 'token', token, ...)
end

-- Back to where it stood: the score is its creation, so it does not lose its place.
local function requeue(id)
  redis.call('ZREM', P .. 'leases:' .. read(id, 'lane')[1], id)
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
