-- Binds a batch's item to the digest of its image, before the image is stored. The first append
-- wins. The binding lasts until the item has its job hash, which then holds the digest.
-- ARGV: job id, sha256, binding's ttl ms, run id of this Redis
-- Returns 'new' | 'repeated' (bound to the same image, no job hash yet) | 'known' (has a job hash)
-- | 'other' (bound to another image) | 'recovering' (this Redis may have lost the item's job hash)
local id, digest, ttl_ms, run_id = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if redis.call('GET', P .. 'epoch') ~= run_id then return 'recovering' end
local recorded = read(id, 'sha256').sha256
if recorded then return recorded == digest and 'known' or 'other' end
local bound = redis.call('SET', binding(id), digest, 'NX', 'GET', 'PX', ttl_ms)
if not bound then return 'new' end
return bound == digest and 'repeated' or 'other'
