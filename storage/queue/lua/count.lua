-- Adds to a rate limit's counter. The first call of a window starts the window.
-- ARGV: name, seconds of the window, amount   Returns the count
local key = P .. 'limits:' .. ARGV[1]
local count = redis.call('INCRBY', key, ARGV[3])
if count == tonumber(ARGV[3]) then redis.call('EXPIRE', key, ARGV[2]) end
return count
