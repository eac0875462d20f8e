#!lua flags=allow-oom
-- rollout_permit: how many customers may be scored anew now, and in which shard.
-- KEYS  1 rollout HASH
-- ARGV  1 live versions of who asks (JSON)  2 how many are wanted  3 rate [customers/s]
-- Returns the generation that is rolled out, how many, and the shard; generation 0 where other
-- versions are rolled out, -1 where nothing is left.
-- What is not used within a second, or the time of one customer, is lost: a pause is followed by no
-- burst.
local state = redis.call('HMGET', KEYS[1], 'generation', 'versions', 'finished_s', 'shard', 'next_ms')
if state[2] ~= ARGV[1] then return {0, 0, 0} end
if state[3] then return {-1, 0, 0} end
local time, rate = redis.call('TIME'), tonumber(ARGV[3])
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local next_ms = math.max(tonumber(state[5] or 0), now_ms - math.max(1000, 1000 / rate))
local count = math.max(0, math.min(tonumber(ARGV[2]), math.floor((now_ms - next_ms) * rate / 1000)))
if count > 0 then
  redis.call('HSET', KEYS[1], 'next_ms', string.format('%.3f', next_ms + count * 1000 / rate))
end
return {tonumber(state[1]), count, tonumber(state[4])}
