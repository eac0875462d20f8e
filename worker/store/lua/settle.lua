#!lua flags=allow-oom
-- settle: record how attempts of one shard and one destination ended.
-- KEYS  1 outbox ZSET  2 claimed HASH  3 delivered HASH  4 dead HASH  5 attempts STREAM  6 stats HASH
--       7.. of each row's customer the insight STRING, or the lane LIST of a destination of events
-- ARGV  1 destination  2 coalescing window [ms]  3 '1' for a destination of events, else ''
--       then for each row eleven: customer, token, outcome, insight version, delivery id,
--       what the destination holds now (ok: digest|delivery id\n content), wait [ms], claim to keep,
--       name and value of the dead letter (stored behind the time: at [ms]|value), detail for the log
--       Of an event the insight version is the SHA-1 of its entry in the lane.
--       ok, unchanged, dead end a delivery; any other outcome keeps the claim for `wait`.
-- Returns for each row 1 settled, 0 the claim is not ours any more.
-- The log and the lane come before the claim: what a failing script leaves undone is done again.
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local is_stream = ARGV[3] == '1'

local function ends(i, at, row, outcome, version)
  local before_ms = redis.call('HGET', KEYS[2], row .. '\31') -- see `claim`
  local resynced = redis.call('HGET', KEYS[2], row .. '\30') -- see `resync`
  if resynced then
    redis.call('HSET', KEYS[3], row, '0|' .. resynced .. '||\n')
  elseif outcome == 'ok' then
    redis.call('HSET', KEYS[3], row,
               (is_stream and '1' or version) .. '|' .. (before_ms or now_ms) .. '|' .. ARGV[at + 6])
    if not is_stream then redis.call('HDEL', KEYS[4], row) end
  elseif outcome == 'dead' then
    redis.call('HSET', KEYS[4], ARGV[at + 9], now_ms .. '|' .. ARGV[at + 10])
  end
  local again = false
  if is_stream then
    local head = redis.call('LINDEX', KEYS[i], 0)
    if head and outcome ~= 'unchanged' and redis.sha1hex(head) == version then
      redis.call('LPOP', KEYS[i])
    end
    again = redis.call('LLEN', KEYS[i]) > 0 and 0
  else
    local newest = string.match(redis.call('GETRANGE', KEYS[i], 0, 24), '^(%d+)|') or '0'
    again = resynced and 0 or newest ~= version and (outcome == 'ok' and not before_ms and tonumber(ARGV[2]) or 0)
  end
  redis.call('HDEL', KEYS[2], row, row .. '\31', row .. '\30')
  if again then
    redis.call('ZADD', KEYS[1], now_ms + again, ARGV[at + 1])
  else
    redis.call('ZREM', KEYS[1], ARGV[at + 1])
  end
end

local answer = {}
for i = 7, #KEYS do
  local at = 3 + 11 * (i - 7)
  local row, outcome, version = ARGV[1] .. '\31' .. ARGV[at + 1], ARGV[at + 3], ARGV[at + 4]
  local held = redis.call('HGET', KEYS[2], row)
  if not held or string.match(held, '^([^|]*)|') ~= ARGV[at + 2] then
    answer[#answer + 1] = 0
  else
    if outcome ~= 'unchanged' and outcome ~= 'unsent' then
      redis.call('XADD', KEYS[5], 'MAXLEN', '~', '2000', '*', 'row', row, 'outcome', outcome,
                 'delivery', ARGV[at + 5], 'version', is_stream and '0' or version, 'detail', ARGV[at + 11])
    end
    if outcome == 'ok' or outcome == 'unchanged' or outcome == 'dead' then
      ends(i, at, row, outcome, version)
    else
      redis.call('HSET', KEYS[2], row, ARGV[at + 8])
      redis.call('ZADD', KEYS[1], now_ms + tonumber(ARGV[at + 7]), ARGV[at + 1])
    end
    redis.call('HINCRBY', KEYS[6], outcome, 1)
    redis.call('HINCRBY', KEYS[6], ARGV[1] .. '|' .. outcome, 1)
    answer[#answer + 1] = 1
  end
end
return answer
