-- Removes the given drainer ('' for none), then counts the missing tickets.
-- ARGV: drainer, micro_batch   Returns how many tickets are missing
redis.call('ZREM', P .. 'drainers', ARGV[1])
return tickets_missing(tonumber(ARGV[2]))
