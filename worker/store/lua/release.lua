#!lua flags=allow-oom
-- release: give a lease back, if it is still ours; forget the tries that it counted.
-- KEYS  1 lease  2 tries HASH
-- ARGV  1 token
-- Returns 1 released, 0 not ours.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1], KEYS[2])
return 1
