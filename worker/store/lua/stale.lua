#!lua flags=allow-oom
-- stale: customers of one shard that the live models have not scored yet.
-- KEYS  1 customers SET  2 stale ZSET  3 refresh stats HASH
-- ARGV  1 model generation  2 how many are wanted
-- Returns how many are left, how many customers the shard has, and some of those that are left.
-- The first call of a generation marks everybody of the shard; marks that an older one left get the
-- newer generation. Who scores a customer takes the mark off, so a crash leaves it.
local marked = tonumber(redis.call('HGET', KEYS[3], 'stale_generation') or 0)
if marked < tonumber(ARGV[1]) then
  redis.call('ZUNIONSTORE', KEYS[2], 1, KEYS[1], 'WEIGHTS', ARGV[1])
  redis.call('HSET', KEYS[3], 'stale_generation', ARGV[1])
end
return {
  redis.call('ZCARD', KEYS[2]), redis.call('SCARD', KEYS[1]),
  redis.call('ZRANGE', KEYS[2], 0, ARGV[2] - 1),
}
