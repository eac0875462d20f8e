#!lua flags=allow-oom
-- train_request: ask for a training of one kind; who asks while one waits joins it.
-- KEYS  1 waiting HASH  2 told ZSET
-- ARGV  1 kind  2 reason  3 now [Unix ms]  4 most reasons that are kept
--       5 id of the event that asks, '' = none  6 most events that are remembered
-- Returns 1 a request waits now, 0 it joined the one that waits, or its event asked before.
-- Repeated (its reply was lost) it adds the same reason once. An event asks once, also when it comes
-- again after its training has ended; it is remembered behind the request, so that none is lost.
local told = ARGV[1] .. ':' .. ARGV[5]
if ARGV[5] ~= '' and redis.call('ZSCORE', KEYS[2], told) then return 0 end
local held = redis.call('HGET', KEYS[1], ARGV[1])
local request = {at_ms = tonumber(ARGV[3]), reasons = {}}
if held then request = cjson.decode(held) end
local known = #request.reasons >= tonumber(ARGV[4])
for _, reason in ipairs(request.reasons) do known = known or reason == ARGV[2] end
if not known then
  request.reasons[#request.reasons + 1] = ARGV[2]
  redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(request))
end
if ARGV[5] ~= '' then
  redis.call('ZADD', KEYS[2], ARGV[3], told)
  redis.call('ZREMRANGEBYRANK', KEYS[2], 0, -1 - tonumber(ARGV[6]))
end
return held and 0 or 1
