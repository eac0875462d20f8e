#!lua flags=allow-oom
-- renew: keep a lock that is still ours.
-- KEYS  1 lock
-- ARGV  1 token  2 time to live [ms]
-- Returns 1 kept, 0 somebody else's, or gone.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
