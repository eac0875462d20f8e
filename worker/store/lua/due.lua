#!lua flags=no-writes
-- due: the rows of one shard that may be sent now, the longest due first.
-- KEYS  1.. outbox ZSET of each destination
-- ARGV  1.. for each: how many at most
-- Returns for each destination its customers.
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local answer = {}
for i = 1, #KEYS do
  answer[i] = redis.call('ZRANGEBYSCORE', KEYS[i], '-inf', now_ms, 'LIMIT', 0, ARGV[i])
end
return answer
