-- Removes changes that were written to SQL, unless there is a newer revision.
-- ARGV: id, the revision that was read, …
for i = 1, #ARGV, 2 do
  if tonumber(redis.call('ZSCORE', P .. 'unrecorded', ARGV[i]) or '-1') == tonumber(ARGV[i + 1]) then
    redis.call('ZREM', P .. 'unrecorded', ARGV[i])
  end
end
