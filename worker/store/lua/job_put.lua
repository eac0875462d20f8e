#!lua flags=allow-oom
-- job_put: remember a job at a destination, with the rows that it carries.
-- KEYS  1 jobs ZSET  2 job rows HASH
-- ARGV  1 job  2 wait before the next question [ms]  3 rows  4 job that it follows ('' none)
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
redis.call('ZADD', KEYS[1], now_ms + tonumber(ARGV[2]), ARGV[1])
if ARGV[4] ~= '' and ARGV[4] ~= ARGV[1] then
  redis.call('ZREM', KEYS[1], ARGV[4])
  redis.call('HDEL', KEYS[2], ARGV[4])
end
return 1
