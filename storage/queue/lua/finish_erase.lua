-- Last step of an erasure, after its objects: deletes the job hash and leaves a tombstone.
-- ARGV: id, tenant, tombstone_ms
local id, tenant, tombstone_ms = ARGV[1], ARGV[2], ARGV[3]
local j = read_with_queue(id, 'batch_id', 'key_hash', 'revision', 'bytes')
if (j.batch_id or '') ~= '' then
  redis.call('ZREM', P .. 'batch:' .. j.batch_id .. ':jobs', id)
  redis.call('ZREM', P .. 'batch:' .. j.batch_id .. ':done', id)
  redis.call('HINCRBY', P .. 'batch:' .. j.batch_id .. ':counts', j.status, -1)
end
if j.lane then
  remove_from_queues(id, j)
  count_usage(j, -1)
end
redis.call('DEL', job_key(id), P .. 'idem:' .. tenant .. ':' .. (j.key_hash or '')) -- the key may create a new job
redis.call('ZREM', P .. 'retained', id)
redis.call('SET', P .. 'gone:' .. id, tenant, 'PX', tombstone_ms)
redis.call('ZADD', P .. 'unrecorded', math.max(NOW, tonumber(j.revision or '0') + 1), id)
