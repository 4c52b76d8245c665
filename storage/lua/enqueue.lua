#!lua
-- A durable upload becomes a waiting job. Repeating it changes nothing.
-- ARGV: id, tenant, deadline_ms, micro_batch, idempotency hash or '', fingerprint, key ttl ms, 1 if it may have been
--       attempted before, field, value, … of the record
-- → {created 0|1, tickets missing}
local id, tenant, deadline_ms, micro_batch = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local hash, fingerprint, ttl, again = ARGV[5], ARGV[6], ARGV[7], ARGV[8]

if hash ~= '' then
  local idem = P .. 'idem:' .. tenant .. ':' .. hash
  redis.call('HSET', idem, 'id', id, 'fingerprint', fingerprint, 'busy_until', '0')
  redis.call('PEXPIRE', idem, ttl)
end
local created = redis.call('EXISTS', record(id)) == 0
if created then
  redis.call('HSET', record(id), unpack(ARGV, 9))
  write(id, 'queued', 'attempt', '1', 'losses', '0', 'losses_alone', '0', 'again', again)
  redis.call('ZADD', P .. 'open', deadline_ms, id)
  wait_in_line(id)
end
return { created and 1 or 0, tickets_missing(micro_batch) }
