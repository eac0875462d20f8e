#!lua flags=allow-oom
-- train_end: a training is over, whatever came of it.
-- KEYS  1 running HASH  2 lease
-- ARGV  1 kind  2 token
-- Returns 1 ended, 0 it was somebody else's.
if redis.call('GET', KEYS[2]) ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('DEL', KEYS[2])
return 1
