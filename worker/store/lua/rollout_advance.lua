#!lua flags=allow-oom
-- rollout_advance: everybody of a shard is scored; the next one follows.
-- KEYS  1 rollout HASH
-- ARGV  1 model generation  2 shard that is done  3 number of shards  4 its customers  5 now [Unix s]
-- Returns 1 if this call did it, 0 if somebody else had, or another generation is rolled out.
local state = redis.call('HMGET', KEYS[1], 'generation', 'shard')
if state[1] ~= ARGV[1] or state[2] ~= ARGV[2] then return 0 end
local follows = tonumber(ARGV[2]) + 1
if follows == tonumber(ARGV[3]) then redis.call('HSET', KEYS[1], 'finished_s', ARGV[5]) end
redis.call('HINCRBY', KEYS[1], 'done', ARGV[4])
redis.call('HSET', KEYS[1], 'shard', follows)
return 1
