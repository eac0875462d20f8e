#!lua flags=allow-oom
-- decide: replace the verdict on a version that is stored and not live.
-- KEYS  1 verdicts HASH
-- ARGV  1 field (kind:version)  2 verdict that must hold still (JSON)  3 verdict from now on (JSON)
-- Returns 1 it holds now (also when it did already), 0 something else was decided meanwhile.
local held = redis.call('HGET', KEYS[1], ARGV[1])
if held == ARGV[3] then return 1 end
if held ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
