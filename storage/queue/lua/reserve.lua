-- Binds an idempotency key to a job or batch id before anything is stored, so that a retry after a
-- crash writes the same object.
-- ARGV: tenant, hash, fingerprint, job or batch id to reserve, busy ms, key ttl ms, run id of this
--   Redis, 'job' or 'batch'
-- Returns {'reserved', id} (continue with this id) | {'done', id} (accepted before)
-- | {'busy', id} (another request is in progress) | {'reused', id} (bound to a different request)
-- | {'recovering', id} (Redis may have lost the key; an upload's metadata may hold it)
local idem = P .. 'idem:' .. ARGV[1] .. ':' .. ARGV[2]
local entry = read_hash(idem, 'id', 'fingerprint', 'busy_until')
local id = entry.id or ARGV[4]
if entry.id and entry.fingerprint ~= ARGV[3] then return { 'reused', id } end
if entry.id and redis.call('EXISTS', P .. ARGV[8] .. ':' .. id) == 1 then return { 'done', id } end
if entry.id and tonumber(entry.busy_until) > NOW then return { 'busy', id } end
if not entry.id and redis.call('GET', P .. 'keyed') ~= ARGV[7] then return { 'recovering', id } end
redis.call('HSET', idem, 'id', id, 'fingerprint', ARGV[3], 'busy_until', NOW + ARGV[5])
redis.call('PEXPIRE', idem, ARGV[6])
return { 'reserved', id }
