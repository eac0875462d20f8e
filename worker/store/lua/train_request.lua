#!lua flags=allow-oom
-- train_request: ask for a training of one kind; who asks while one waits joins it.
-- KEYS  1 waiting HASH
-- ARGV  1 kind  2 reason  3 now [Unix ms]  4 most reasons that are kept
-- Returns 1 a request waits now, 0 it joined the one that waits.
-- Repeated (its reply was lost) it adds the same reason once.
local held = redis.call('HGET', KEYS[1], ARGV[1])
if not held then
  redis.call('HSET', KEYS[1], ARGV[1], cjson.encode({at_ms = tonumber(ARGV[3]), reasons = {ARGV[2]}}))
  return 1
end
local request = cjson.decode(held)
for _, reason in ipairs(request.reasons) do
  if reason == ARGV[2] then return 0 end
end
if #request.reasons < tonumber(ARGV[4]) then
  request.reasons[#request.reasons + 1] = ARGV[2]
  redis.call('HSET', KEYS[1], ARGV[1], cjson.encode(request))
end
return 0
