#!lua flags=allow-oom
-- rename: give a segment the operator's name, in all versions, or take it back.
-- KEYS  1 models HASH  2 names HASH
-- ARGV  1 segment id  2 name ('' takes it back)
-- Returns 1. The generation grows, so that every process reads the names anew.
-- All keys carry {global}: one slot.
if ARGV[2] == '' then redis.call('HDEL', KEYS[2], ARGV[1]) else redis.call('HSET', KEYS[2], ARGV[1], ARGV[2]) end
redis.call('HINCRBY', KEYS[1], 'generation', 1)
return 1
