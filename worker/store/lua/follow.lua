#!lua flags=allow-oom
-- follow: store the next minor version of the live model, and make it current.
-- KEYS  1 models HASH  2 the minor version's value STRING  3 the value of one that is not kept STRING
-- ARGV  1 kind  2 major version  3 minor version  4 artifact
-- Returns 1 (also when a repeated call finds its own artifact), or 0 when another major is live or
-- another minor came before: what was computed then is out of date.
-- The value comes before the field that names it. All keys carry {global}: one slot.
local field = ARGV[1] .. ':' .. ARGV[2]
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
local held = tonumber(redis.call('HGET', KEYS[1], field) or '0')
if held == tonumber(ARGV[3]) then return redis.call('GET', KEYS[2]) == ARGV[4] and 1 or 0 end
if held ~= ARGV[3] - 1 then return 0 end
redis.call('SET', KEYS[2], ARGV[4])
redis.call('HINCRBY', KEYS[1], 'generation', 1)
redis.call('HSET', KEYS[1], field, ARGV[3])
redis.call('DEL', KEYS[3])
return 1
