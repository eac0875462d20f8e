#!lua flags=allow-oom
-- take_nudges: drop nudges that were answered, unless a later one has come meanwhile.
-- KEYS  1 nudges ZSET
-- ARGV  for each: customer, when it was nudged as read [Unix ms]
-- Returns how many were dropped.
local dropped = 0
for i = 1, #ARGV, 2 do
  local score = redis.call('ZSCORE', KEYS[1], ARGV[i])
  if score and tonumber(score) <= tonumber(ARGV[i + 1]) then
    dropped = dropped + redis.call('ZREM', KEYS[1], ARGV[i])
  end
end
return dropped
