#!lua flags=allow-oom
-- resync: send the newest insight of customers of one shard again, whole: what the destination holds is
-- not known any more.
-- KEYS  1 outbox ZSET  2 claimed HASH  3 delivered HASH  4 dead HASH
-- ARGV  1 destination  2 now [ms], a part of the next delivery's id  3.. customers
-- Returns how many.
-- What is under way ends first: its claim gets a second field, row\30, by which `settle` puts the row
-- back. Content that waits for another attempt is made anew.
for i = 3, #ARGV do
  local row = ARGV[1] .. '\31' .. ARGV[i]
  local claim = redis.call('HGET', KEYS[2], row)
  if claim and string.sub(claim, 1, 1) ~= '|' then
    redis.call('HSET', KEYS[2], row .. '\30', ARGV[2])
  elseif claim then
    redis.call('HDEL', KEYS[2], row)
  end
  redis.call('HSET', KEYS[3], row, '0|' .. ARGV[2] .. '||\n')
  redis.call('ZADD', KEYS[1], 'NX', ARGV[2], ARGV[i])
  redis.call('HDEL', KEYS[4], row)
end
return #ARGV - 2
