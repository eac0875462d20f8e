#!lua flags=allow-oom
-- train_cancel: drop what waits, and ask what runs to stop.
-- KEYS  1 waiting HASH  2 running HASH  3 lease
-- ARGV  1 kind
-- Returns 1 when there was something to cancel, else 0. What a trainer that ended left behind is dropped.
local found = redis.call('HDEL', KEYS[1], ARGV[1])
local record = redis.call('HGET', KEYS[2], ARGV[1])
if not record then return found end
if redis.call('EXISTS', KEYS[3]) == 0 then
  redis.call('HDEL', KEYS[2], ARGV[1])
  return 1
end
local run = cjson.decode(record)
run.cancelled = true
redis.call('HSET', KEYS[2], ARGV[1], cjson.encode(run))
return 1
