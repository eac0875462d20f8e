#!lua flags=allow-oom
-- rollout_pushes: when destinations may be told of customers that a new model alone changed.
-- KEYS  1 pushes STRING: theoretical arrival time of the next one [ms]
-- ARGV  1 how many  2 most within any hour
-- Returns for each the Unix ms from which on it may go, '' = at once. Later ones end in half a
-- millisecond: what the customer does meanwhile goes at once, and takes them along.
-- Half of the cap goes at once, the other half is spread over the hour: so no hour holds more.
local HOUR_MS = 3600000
local time, cap = redis.call('TIME'), tonumber(ARGV[2])
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local burst = math.max(1, math.floor(cap / 2))
local each_ms = HOUR_MS / math.max(1, cap - burst)
local arrival_ms = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now_ms)
local answer = {}
for i = 1, tonumber(ARGV[1]) do
  local from_ms = arrival_ms - (burst - 1) * each_ms
  answer[i] = from_ms > now_ms and string.format('%d.5', math.ceil(from_ms)) or ''
  arrival_ms = arrival_ms + each_ms
end
redis.call('SET', KEYS[1], string.format('%.3f', arrival_ms), 'PX', math.ceil(arrival_ms - now_ms) + 1000)
return answer
