#!lua flags=allow-oom
-- job_take: the jobs of a destination that somebody should ask about, for the length of a lease.
-- KEYS  1 jobs ZSET  2 job rows HASH
-- ARGV  1 lease [ms]  2 how many at most
-- Returns job, rows ..; a job whose asker died is given to another when the lease ends.
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local answer = {}
for _, job in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now_ms, 'LIMIT', 0, ARGV[2])) do
  local rows = redis.call('HGET', KEYS[2], job)
  if rows then
    redis.call('ZADD', KEYS[1], now_ms + tonumber(ARGV[1]), job)
    answer[#answer + 1], answer[#answer + 2] = job, rows
  else
    redis.call('ZREM', KEYS[1], job)
  end
end
return answer
