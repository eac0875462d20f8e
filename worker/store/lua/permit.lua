#!lua flags=allow-oom
-- permit: leave to make calls to a destination, from all its limits at once.
-- KEYS  1 control HASH  2 calls ZSET  3 flying ZSET
-- ARGV  1 name of the calls, unique  2 how many are wanted  3 longest time that a call is under way [ms],
--         before its maker says anew that it is under way (see `keep`)
--       4 calls under way at once  5 calls a day (UTC), 0 = any
--       6 of digests: time for which rows gather before a call [ms], else 0
--       7.. for each window: calls, length [ms]
-- Returns how many are granted, ms to wait before it is worth asking again (-1: until somebody
-- resumes it), and why, or 'probe' for a call that an open breaker lets pass; call n of them is named
-- `name:n`.
-- A call reaches the destination at some moment between its permit and its end. So it counts in a
-- window from its permit on, and until the window's length has passed since its end; while its end is
-- not known, it is taken to be ahead by that time: who died makes no call after it. No window of arrivals can hold more than the
-- limit, however long calls travel. The millisecond is for what rounding takes.
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local name, wanted, longest_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

local granted = 0
while redis.call('ZSCORE', KEYS[3], name .. ':' .. granted + 1) do granted = granted + 1 end
if granted > 0 then return {granted, 0, ''} end -- the reply of this call was lost

local state = redis.call('HMGET', KEYS[1], 'paused', 'until', 'opened', 'probe', 'day', 'used', 'gathered')
if state[1] then return {0, -1, state[1]} end
local until_ms = tonumber(state[2] or 0)
if until_ms > now_ms then return {0, until_ms - now_ms, 'asked'} end
local opened_ms, probe_ms = tonumber(state[3] or 0), tonumber(state[4] or 0)
if opened_ms > now_ms then return {0, opened_ms - now_ms, 'broken'} end
if opened_ms > 0 then
  if probe_ms > now_ms then return {0, probe_ms - now_ms, 'probing'} end
  wanted = 1
end

local gather_ms = tonumber(ARGV[6])
if gather_ms > 0 then -- the first who asks begins a period; `report` ends it with its call
  local gathered_ms = tonumber(state[7] or 0)
  if gathered_ms == 0 then
    gathered_ms = now_ms + gather_ms
    redis.call('HSET', KEYS[1], 'gathered', gathered_ms)
  end
  if gathered_ms > now_ms then return {0, gathered_ms - now_ms, 'gathering'} end
end

local room, wait_ms, why = wanted, 0, ''
local function narrow(left, again_ms, reason)
  if left < room then room, wait_ms, why = math.max(0, left), again_ms, reason end
end
local cap, day = tonumber(ARGV[5]), math.floor(now_ms / 86400000)
local used = tonumber(state[5] or -1) == day and tonumber(state[6] or 0) or 0
if cap > 0 then narrow(cap - used, (day + 1) * 86400000 - now_ms, 'daily cap') end
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now_ms)
narrow(tonumber(ARGV[4]) - redis.call('ZCARD', KEYS[3]), 5, 'concurrency')
local longest_window_ms = 0
for i = 7, #ARGV, 2 do
  local calls, window_ms = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
  longest_window_ms = math.max(longest_window_ms, window_ms)
  local from_ms = now_ms - window_ms - 1
  local count = redis.call('ZCOUNT', KEYS[2], from_ms, '+inf')
  if calls - count < room then
    local first = redis.call('ZRANGEBYSCORE', KEYS[2], from_ms, '+inf', 'WITHSCORES', 'LIMIT', math.max(0, count - calls), 1)
    local again_ms = first[2] and tonumber(first[2]) - from_ms + 1 or window_ms
    narrow(calls - count, math.min(again_ms, window_ms), 'limit')
  end
end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now_ms - longest_window_ms - 2)
if room == 0 then return {0, wait_ms, why} end

if opened_ms > 0 then redis.call('HSET', KEYS[1], 'probe', now_ms + longest_ms) end
redis.call('HSET', KEYS[1], 'day', day, 'used', used + room)
for n = 1, room do
  redis.call('ZADD', KEYS[2], now_ms + longest_ms, name .. ':' .. n)
  redis.call('ZADD', KEYS[3], now_ms + longest_ms, name .. ':' .. n)
end
return {room, 0, opened_ms > 0 and 'probe' or why}
