#!lua flags=no-writes
-- state: how a destination stands.
-- KEYS  1 control HASH  2 calls ZSET  3 flying ZSET  4 jobs ZSET
-- Returns the server's time [ms], fields and values of control, calls under way, jobs.
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
return {now_ms, redis.call('HGETALL', KEYS[1]), redis.call('ZCOUNT', KEYS[3], '(' .. now_ms, '+inf'),
        redis.call('ZCARD', KEYS[4])}
