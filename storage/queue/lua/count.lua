-- A rate limit's counter: the first of a window starts it.
-- ARGV: name, seconds of the window, amount   → the count
local key = P .. 'limits:' .. ARGV[1]
local count = redis.call('INCRBY', key, ARGV[3])
if count == tonumber(ARGV[3]) then redis.call('EXPIRE', key, ARGV[2]) end
return count
