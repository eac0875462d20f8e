#!lua flags=allow-oom
-- unstale: customers of one shard that need not be scored anew, or cannot be.
-- KEYS  1 stale ZSET
-- ARGV  1 model generation  2.. customers
-- Returns how many marks were taken off; those of a newer generation stay.
local taken = 0
for i = 2, #ARGV do
  local score = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if score and tonumber(score) <= tonumber(ARGV[1]) then taken = taken + redis.call('ZREM', KEYS[1], ARGV[i]) end
end
return taken
