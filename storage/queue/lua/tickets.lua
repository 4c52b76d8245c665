-- How many tickets are missing, after the given drainer (or '') has gone.
-- ARGV: drainer, micro_batch   → tickets missing
redis.call('ZREM', P .. 'drainers', ARGV[1])
return tickets_missing(tonumber(ARGV[2]))
