-- An idempotency key takes a job id before anything is stored, so that a crashed try is repeated onto the same object.
-- ARGV: tenant, hash, fingerprint, job or batch id to reserve, busy ms, key ttl ms, run id of this Redis, 'job' or 'batch'
-- → {'reserved', id} go on under this id | {'done', id} answered before | {'busy', id} | {'reused', id}
-- | {'recovering', id}: it may be a key that Redis has lost and that is in an upload's metadata
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
