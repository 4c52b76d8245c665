-- Counts a job whose mask a person has called bad or has corrected, once, in the rollout that has served it.
-- ARGV: id
local id = ARGV[1]
if redis.call('EXISTS', job_key(id)) == 1 and redis.call('HSETNX', job_key(id), 'judged', '1') == 1 then
  count_in_rollout(read(id, 'arm').arm, 'bad')
end
return 0
