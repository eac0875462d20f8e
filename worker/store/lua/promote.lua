#!lua flags=allow-oom
-- promote: make a stored version live.
-- KEYS  1 models HASH  2 the model's value STRING  3 log LIST  4 verdicts HASH
-- ARGV  1 kind  2 version  3 entry of the log (JSON)  4 verdict from now on (JSON, '' as it is)
--       5 version that must be live still ('' any)  6 verdict that must hold still ('' any)
-- Returns 1 it is live, 2 it was already, 0 there is no such version, -1 another version became live
-- or something else was decided.
if redis.call('EXISTS', KEYS[2]) == 0 then return 0 end
local field, live = ARGV[1] .. ':' .. ARGV[2], redis.call('HGET', KEYS[1], ARGV[1]) or '0'
if live == ARGV[2] then return 2 end
if ARGV[5] ~= '' and live ~= ARGV[5] then return -1 end
if ARGV[6] ~= '' and redis.call('HGET', KEYS[4], field) ~= ARGV[6] then return -1 end
if ARGV[4] ~= '' then redis.call('HSET', KEYS[4], field, ARGV[4]) end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('HINCRBY', KEYS[1], 'generation', 1)
redis.call('LPUSH', KEYS[3], ARGV[3])
redis.call('LTRIM', KEYS[3], 0, 499)
return 1
