#!lua flags=allow-oom
-- begin: take the ingest lease of a shard, and count how often its cursor was begun from.
-- KEYS  1 ingest lease  2 tries HASH  3 meta HASH  4 epoch
-- ARGV  1 token  2 lease [ms]
-- Returns {} when another drainer holds the lease, else {tries, epoch, meta field, value ..}.
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return {} end
local cursor = redis.call('HGET', KEYS[3], 'cursor') or '0-0'
local tries = 1
if redis.call('HGET', KEYS[2], 'cursor') == cursor then
  tries = tonumber(redis.call('HGET', KEYS[2], 'count')) + 1
end
redis.call('HSET', KEYS[2], 'cursor', cursor, 'count', tries)
local answer = {tries, redis.call('GET', KEYS[4]) or ''}
for _, part in ipairs(redis.call('HGETALL', KEYS[3])) do answer[#answer + 1] = part end
return answer
