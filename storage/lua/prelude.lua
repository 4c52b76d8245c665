-- Stands before every script. Redis runs a script whole, so each one is a single transition with one winner.
--
--   segue:job:{id}                  hash    the record
--   segue:pending:{lane}            zset    every waiting id of the lane, by creation (length, oldest)
--   segue:pending:{lane}:{tenant}   zset    the same ids, by tenant
--   segue:turns:{lane}              zset    tenants with waiting jobs, by turn; the lowest is next
--   segue:leases:{lane}             zset    running ids, by the lease's expiry
--   segue:open                      zset    every id that is not terminal, by deadline
--   segue:drainers                  zset    running segment_batch tasks, by expiry
--   segue:claim:{token}             list    ids given to a claim, so that its repetition gets the same
--   segue:idem:{tenant}:{hash}      hash    idempotency key: job id, fingerprint, busy_until
-- All times are milliseconds of Redis' own clock: one clock for all machines.

local P = 'segue:'
local TICKETS = 'segment'
local MAX_TICKETS = 64

local function now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local NOW = now()

local function record(id) return P .. 'job:' .. id end

local function read(id, ...) return redis.call('HMGET', record(id), ...) end

-- Writes the fields and raises the revision, which never goes back, not even after Redis was lost.
local function write(id, status, ...)
  local old = tonumber(redis.call('HGET', record(id), 'revision') or '0')
  local revision = math.max(old + 1, NOW)
  redis.call('HSET', record(id), 'status', status, 'revision', string.format('%d', revision), ...)
  redis.call('PUBLISH', P .. 'events', id .. ' ' .. status)
end

local function wait_in_line(id, lane, tenant, created_ms)
  redis.call('ZADD', P .. 'pending:' .. lane, created_ms, id)
  redis.call('ZADD', P .. 'pending:' .. lane .. ':' .. tenant, created_ms, id)
  local turns = P .. 'turns:' .. lane
  if not redis.call('ZSCORE', turns, tenant) then
    redis.call('ZADD', turns, redis.call('INCR', P .. 'turn'), tenant)
  end
end

local function leave_line(id, lane, tenant)
  redis.call('ZREM', P .. 'pending:' .. lane, id)
  local own = P .. 'pending:' .. lane .. ':' .. tenant
  redis.call('ZREM', own, id)
  if redis.call('EXISTS', own) == 0 then redis.call('ZREM', P .. 'turns:' .. lane, tenant) end
end

local function lease(id, lane, token, lease_ms, ...)
  redis.call('ZADD', P .. 'leases:' .. lane, NOW + lease_ms, id)
  write(id, 'running', 'token', token, ...)
end

-- Back to where it stood: the score is its creation, so it does not lose its place.
local function requeue(id)
  local j = read(id, 'lane', 'tenant', 'created_ms')
  redis.call('ZREM', P .. 'leases:' .. j[1], id)
  write(id, 'queued', 'token', '')
  wait_in_line(id, j[1], j[2], j[3])
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
