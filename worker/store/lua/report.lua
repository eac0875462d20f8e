#!lua flags=allow-oom
-- report: a call to a destination has ended; what follows for all calls to it.
-- KEYS  1 control HASH  2 calls ZSET  3 flying ZSET
-- ARGV  1 call  2 how: taken (a row, or more), ok (it answered), rejected (its rows, every one), failed,
--         refused (our credentials), gone, unused (it was not made), empty (nor is there anything to send)
--       3 rest that the destination asked for [ms]  4 failures in a row that open the breaker
--       5 calls and 6 share of failures within a minute that open it  7 first and 8 longest time that
--       it stays open [ms]  9 jitter in [0, 1)  10 what people should know, '' nothing
--       11 time that it stays open after a refusal [ms]  12 calls in a row that take no row and open it
--       13 '1' where a digest was full, and the next one goes in the same period, else ''
-- Returns 1 counted, 0 it was reported before.
-- An open breaker lets one call pass when its time is over: a success closes it, a failure doubles
-- the time. Where it takes nothing, an answer to something else is no success.
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local flying = redis.call('ZREM', KEYS[3], ARGV[1])
local how = ARGV[2]
local rest_ms = tonumber(ARGV[3])
-- a digest was sent, not only told to come later: the next one gathers anew
if how == 'empty' or ((how == 'ok' or how == 'taken') and rest_ms == 0 and ARGV[13] == '') then redis.call('HDEL', KEYS[1], 'gathered') end
if how == 'unused' or how == 'empty' then
  if flying == 1 then
    redis.call('ZREM', KEYS[2], ARGV[1])
    redis.call('HINCRBY', KEYS[1], 'used', -1)
    redis.call('HDEL', KEYS[1], 'probe')
  end
  return flying
end
local ended = redis.call('ZSCORE', KEYS[2], ARGV[1])
if ended and tonumber(ended) > now_ms then redis.call('ZADD', KEYS[2], now_ms, ARGV[1]) end
if rest_ms > 0 then
  local until_ms = tonumber(redis.call('HGET', KEYS[1], 'until') or 0)
  redis.call('HSET', KEYS[1], 'until', math.max(until_ms, now_ms + rest_ms))
end
if ARGV[10] ~= '' and how ~= 'rejected' then
  redis.call('HSET', KEYS[1], 'alarm', ARGV[10])
  redis.call('HSETNX', KEYS[1], 'alarm_ms', now_ms)
end
if how == 'gone' then
  redis.call('HSET', KEYS[1], 'paused', 'gone')
  return flying
end
if flying == 0 then return 0 end

local state = redis.call('HMGET', KEYS[1], 'fails', 'minute', 'good', 'bad', 'opened', 'opens', 'refusals')
local fails, opened_ms, opens = tonumber(state[1] or 0), tonumber(state[5] or 0), tonumber(state[6] or 0)
local refusals = tonumber(state[7] or 0)
if how == 'taken' then
  refusals = 0
  redis.call('HINCRBY', KEYS[1], 'taken', 1)
elseif how == 'rejected' then
  refusals = refusals + 1
end
local takes_nothing = refusals >= tonumber(ARGV[12])
local minute = math.floor(now_ms / 60000)
local is_same = tonumber(state[2] or -1) == minute
local good, bad = is_same and tonumber(state[3] or 0) or 0, is_same and tonumber(state[4] or 0) or 0
if how == 'taken' or how == 'ok' or (how == 'rejected' and not takes_nothing) then
  redis.call('HSET', KEYS[1], 'fails', 0, 'minute', minute, 'good', good + 1, 'bad', bad, 'refusals', refusals)
  if takes_nothing then
    redis.call('HDEL', KEYS[1], 'probe')
  elseif opened_ms <= now_ms then
    -- while it is open, a call that began before says nothing of now
    redis.call('HDEL', KEYS[1], 'opened', 'opens', 'probe', 'alarm', 'alarm_ms')
  end
  return 1
end
fails, bad = fails + (how == 'rejected' and 0 or 1), bad + 1
redis.call('HSET', KEYS[1], 'fails', fails, 'minute', minute, 'good', good, 'bad', bad, 'refusals', refusals)
local share = bad / (good + bad)
local is_open = opened_ms > now_ms
local breaks = opened_ms > 0 or how == 'rejected' or fails >= tonumber(ARGV[4])
               or (good + bad >= tonumber(ARGV[5]) and share >= tonumber(ARGV[6]))
if how == 'refused' and not is_open then
  redis.call('HSET', KEYS[1], 'opened', now_ms + tonumber(ARGV[11]), 'opens', opens + 1)
  redis.call('HDEL', KEYS[1], 'probe')
elseif breaks and not is_open then
  local open_ms = math.min(tonumber(ARGV[8]), tonumber(ARGV[7]) * 2 ^ opens)
  open_ms = math.floor(open_ms * (0.5 + tonumber(ARGV[9]) / 2))
  redis.call('HSET', KEYS[1], 'opened', now_ms + open_ms, 'opens', math.min(opens + 1, 30))
  redis.call('HDEL', KEYS[1], 'probe')
  if how == 'rejected' then redis.call('HSET', KEYS[1], 'alarm', ARGV[10])
  else redis.call('HSETNX', KEYS[1], 'alarm', 'it fails') end
  redis.call('HSETNX', KEYS[1], 'alarm_ms', now_ms)
end
return 1
