-- Its holder leaves the block of this name; a lock that has run out may be another's by now.
-- ARGV: name, token   → unlocked 0|1
local key = P .. 'lock:' .. ARGV[1]
if redis.call('GET', key) ~= ARGV[2] then return 0 end
return redis.call('DEL', key)
