-- Notes a re-run in the job hash of the job whose photo it has, unless that job is being erased.
-- ARGV: id, id of the re-run   Returns linked 0|1
local id, rerun = ARGV[1], ARGV[2]
if not ended(read(id, 'status').status) or redis.call('ZSCORE', P .. 'retained', id) == '0' then return 0 end
redis.call('HSET', job_key(id), 'rerun', rerun)
return 1
