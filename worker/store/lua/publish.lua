#!lua flags=allow-oom
-- publish: store a model version under the next number, and make it current where it may speak.
-- KEYS  1 models HASH  2 versions ZSET  3 the model's value STRING  4 log LIST  5 training lease
--       6 verdicts HASH
-- ARGV  1 kind  2 version that the value's key names  3 artifact  4 published at [Unix s]
--       5 entry of the log (JSON; '' = the version does not go live)  6 token of the training
--       ('' none)  7 version that must be live still ('' any)  8 verdict (JSON, '' none)
--       9 first segment id that the version has not given (0 it gives none)
-- Returns 1 (also when a repeated call finds its own artifact), 0 when somebody else published this
-- version, -1 when the training is not the caller's any more, -2 when another version became live.
-- All keys carry {global}: one slot.
if redis.call('ZSCORE', KEYS[2], ARGV[2]) then
  return redis.call('GET', KEYS[3]) == ARGV[3] and 1 or 0
end
if ARGV[6] ~= '' and redis.call('GET', KEYS[5]) ~= ARGV[6] then return -1 end
local live = redis.call('HGET', KEYS[1], ARGV[1]) or '0'
if ARGV[7] ~= '' and live ~= ARGV[7] and live ~= ARGV[2] then return -2 end
local ids = ARGV[1] .. ':ids' -- grows only: a version that never goes live has used its ids too
if tonumber(ARGV[9]) > tonumber(redis.call('HGET', KEYS[1], ids) or '0') then
  redis.call('HSET', KEYS[1], ids, ARGV[9])
end
redis.call('SET', KEYS[3], ARGV[3])
if ARGV[8] ~= '' then redis.call('HSET', KEYS[6], ARGV[1] .. ':' .. ARGV[2], ARGV[8]) end
if ARGV[5] ~= '' then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
  redis.call('HINCRBY', KEYS[1], 'generation', 1)
  redis.call('LPUSH', KEYS[4], ARGV[5])
  redis.call('LTRIM', KEYS[4], 0, 499)
end
redis.call('ZADD', KEYS[2], ARGV[4], ARGV[2])
return 1
