#!lua flags=allow-oom
-- rollout_begin: other model versions became live, so every customer is to be scored anew.
-- KEYS  1 rollout HASH
-- ARGV  1 model generation  2 live versions (JSON)  3 customers there are  4 begun at [Unix s]
-- Returns 1 begun, 0 it was begun already, or these versions are those that were rolled out last.
-- One that is under way gives way to the newer one, which begins at the first shard.
local held = redis.call('HMGET', KEYS[1], 'generation', 'versions')
if held[1] and tonumber(held[1]) >= tonumber(ARGV[1]) then return 0 end
if held[2] == ARGV[2] then return 0 end
redis.call('HDEL', KEYS[1], 'finished_s')
redis.call('HSET', KEYS[1], 'shard', 0, 'done', 0, 'total', ARGV[3], 'started_s', ARGV[4],
  'before', held[2] or '{}', 'versions', ARGV[2], 'generation', ARGV[1])
return 1
