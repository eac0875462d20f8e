#!lua flags=allow-oom
-- hasten: rows of one shard and destination that wait may be sent now, all but those under way.
-- KEYS  1 outbox ZSET  2 claimed HASH
-- ARGV  1 destination  2.. customers
-- Returns how many were made due.
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local hastened = 0
for i = 2, #ARGV do
  local row = ARGV[1] .. '\31' .. ARGV[i]
  local claim = redis.call('HGET', KEYS[2], row)
  if not claim or string.sub(claim, 1, 1) == '|' then
    local due = redis.call('ZSCORE', KEYS[1], ARGV[i])
    if due and tonumber(due) > now_ms then
      -- put off since for ever: so it is not put off again
      if not claim or string.match(claim, '^|0||') then redis.call('HSET', KEYS[2], row, '|0||0|0|\n') end
      redis.call('ZADD', KEYS[1], now_ms, ARGV[i])
      hastened = hastened + 1
    end
  end
end
return hastened
