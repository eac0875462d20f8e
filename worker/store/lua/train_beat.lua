#!lua flags=allow-oom
-- train_beat: a trainer lives, and has come so far.
-- KEYS  1 running HASH  2 lease
-- ARGV  1 kind  2 token  3 lease [ms]  4 now [Unix ms]  5 stage  6 part done (0 to 1)
-- Returns 1 go on, 2 it shall stop, 0 the training is somebody else's.
if redis.call('GET', KEYS[2]) ~= ARGV[2] then return 0 end
redis.call('PEXPIRE', KEYS[2], ARGV[3])
local record = redis.call('HGET', KEYS[1], ARGV[1])
if not record then return 0 end
local run = cjson.decode(record)
run.beat_ms, run.stage, run.done = tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6])
redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(run))
return run.cancelled and 2 or 1
