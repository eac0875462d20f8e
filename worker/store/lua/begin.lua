#!lua flags=allow-oom
-- begin: take the ingest lease of a shard, count how often its cursor was begun from, and read what
-- waits there.
-- KEYS  1 ingest lease  2 tries HASH  3 meta HASH  4 epoch  5 events STREAM
-- ARGV  1 token  2 lease [ms]  3.. entries to read at the 1st, 2nd .. try; the last one holds on
-- Returns {} when another drainer holds the lease, else {tries, left, epoch, entries, meta field,
-- value ..}.
-- A batch that ends its process leaves its count. From the last limit on its entries are read one by
-- one, and commits keep that up for as many as it may have had (`left`): the one that ends processes
-- is met without starting over for each of those before it.
-- Repeated with the same token (its reply was lost) it answers the same and counts nothing.
local again = false
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
  if redis.call('GET', KEYS[1]) ~= ARGV[1] then return {} end
  again = true
end
local cursor = redis.call('HGET', KEYS[3], 'cursor') or '0-0'
local tries, left = 1, 0
local before = redis.call('HMGET', KEYS[2], 'cursor', 'count', 'left')
if before[1] == cursor then
  tries = tonumber(before[2]) + (again and 0 or 1)
  left = tonumber(before[3] or '0')
end
local limits = #ARGV - 2
if left == 0 and tries >= limits then left = tonumber(ARGV[3]) end
redis.call('HSET', KEYS[2], 'cursor', cursor, 'count', tries, 'left', left)
redis.call('SET', KEYS[4], ARGV[1], 'NX') -- an emptied server begins a new epoch
local limit = ARGV[2 + math.min(tries, limits)]
local entries = redis.call('XRANGE', KEYS[5], '(' .. cursor, '+', 'COUNT', limit)
local answer = {tries, left, redis.call('GET', KEYS[4]), entries}
for _, part in ipairs(redis.call('HGETALL', KEYS[3])) do answer[#answer + 1] = part end
return answer
