-- A durable upload becomes a waiting job. Repeating it changes nothing.
-- ARGV: id, deadline_ms, micro_batch, key ttl ms, 1 if it may have been attempted before, field, value, … of the record
-- → {created 0|1, tickets missing}
local id, deadline_ms, micro_batch, ttl_ms, again = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5]

local created = redis.call('EXISTS', record(id)) == 0
if created then
  redis.call('HSET', record(id), unpack(ARGV, 6))
  write(id, 'queued', 'attempt', '1', 'losses', '0', 'losses_alone', '0', 'again', again)
  redis.call('ZADD', P .. 'open', deadline_ms, id)
  wait_in_line(id)
  count_usage(standing(id, 'bytes'), 1)
end
remember_key(id, ttl_ms)
return { created and 1 or 0, tickets_missing(micro_batch) }
