#!lua flags=allow-oom
-- promote: make a stored version live.
-- KEYS  1 models HASH  2 the model's value STRING  3 log LIST
-- ARGV  1 kind  2 version  3 entry of the log (JSON)
-- Returns 1 it is live, 2 it was already, 0 there is no such version.
if redis.call('EXISTS', KEYS[2]) == 0 then return 0 end
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then return 2 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('HINCRBY', KEYS[1], 'generation', 1)
redis.call('LPUSH', KEYS[3], ARGV[3])
redis.call('LTRIM', KEYS[3], 0, 499)
return 1
