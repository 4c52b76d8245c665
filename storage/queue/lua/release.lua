-- The holder gives jobs back unharmed (shutdown, store outage, no model): nothing is counted against them.
-- ARGV: token, id, …   → how many were given back
local given = 0
for i = 2, #ARGV do
  local j = read(ARGV[i], 'status', 'token')
  if j.status == 'running' and j.token == ARGV[1] then
    requeue(ARGV[i])
    given = given + 1
  end
end
return given
