#!lua flags=allow-oom
-- publish: store a model version under the next number, and make it current.
-- KEYS  1 models HASH  2 versions ZSET  3 the model's value STRING
-- ARGV  1 kind  2 version that the value's key names  3 artifact  4 published at [Unix s]
-- Returns 1 (also when a repeated call finds its own artifact), or 0 when somebody else published it.
-- All keys carry {global}: one slot.
if redis.call('ZSCORE', KEYS[2], ARGV[2]) then
  return redis.call('GET', KEYS[3]) == ARGV[3] and 1 or 0
end
redis.call('SET', KEYS[3], ARGV[3])
redis.call('ZADD', KEYS[2], ARGV[4], ARGV[2])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('HINCRBY', KEYS[1], 'generation', 1)
return 1
