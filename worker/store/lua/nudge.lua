#!lua flags=allow-oom
-- nudge: ask for another look at customers, since those near to them changed.
-- KEYS  1 nudges ZSET customer -> since when [Unix ms]  2 customers SET
-- ARGV  1 most customers that may wait  2 now [Unix ms]  then the customers
-- Returns how many wait now of those that were named. Whoever is not a customer any more is left out,
-- and so is who finds the mailbox full: the clock's refresh comes to everyone.
-- Who waits already keeps his place, but for a millisecond: whoever takes a nudge compares.
local waiting, kept = redis.call('ZCARD', KEYS[1]), 0
for i = 3, #ARGV do
  if redis.call('SISMEMBER', KEYS[2], ARGV[i]) == 1 then
    if redis.call('ZSCORE', KEYS[1], ARGV[i]) then
      redis.call('ZINCRBY', KEYS[1], 1, ARGV[i])
      kept = kept + 1
    elseif waiting < tonumber(ARGV[1]) then
      redis.call('ZADD', KEYS[1], ARGV[2], ARGV[i])
      waiting, kept = waiting + 1, kept + 1
    end
  end
end
return kept
