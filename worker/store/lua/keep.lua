#!lua flags=allow-oom
-- keep: calls are still under way; who made them lives.
-- KEYS  1 control HASH  2 calls ZSET  3 flying ZSET
-- ARGV  1 time for which they are taken to be under way from now on [ms]  2.. calls
-- Returns how many were known to be under way.
local time = redis.call('TIME')
local until_ms = time[1] * 1000 + math.floor(time[2] / 1000) + tonumber(ARGV[1])
local kept = 0
for i = 2, #ARGV do
  if redis.call('ZSCORE', KEYS[3], ARGV[i]) then
    redis.call('ZADD', KEYS[3], until_ms, ARGV[i])
    redis.call('ZADD', KEYS[2], until_ms, ARGV[i])
    kept = kept + 1
  end
end
if kept > 0 and redis.call('HEXISTS', KEYS[1], 'probe') == 1 then
  redis.call('HSET', KEYS[1], 'probe', until_ms)
end
return kept
