#!lua flags=allow-oom
-- The last step of an erasure, after its objects: the record goes, a tombstone stays for a while.
-- ARGV: id, tenant, tombstone_ms
local id, tenant, tombstone_ms = ARGV[1], ARGV[2], ARGV[3]
local j = read(id, 'batch_id', 'status', 'key_hash', 'lane', 'model', 'revision')
if j[1] and j[1] ~= '' then
  redis.call('ZREM', P .. 'batch:' .. j[1] .. ':jobs', id)
  redis.call('ZREM', P .. 'batch:' .. j[1] .. ':done', id)
  redis.call('HINCRBY', P .. 'batch:' .. j[1] .. ':counts', j[2], -1)
end
if j[4] then let_go(id, j[4], tenant, j[5]) end
redis.call('DEL', record(id), P .. 'idem:' .. tenant .. ':' .. (j[3] or '')) -- the key may make a new job
redis.call('ZREM', P .. 'retained', id)
redis.call('SET', P .. 'gone:' .. id, tenant, 'PX', tombstone_ms)
redis.call('ZADD', P .. 'unrecorded', math.max(NOW, tonumber(j[6] or '0') + 1), id)
