#!lua flags=allow-oom
-- settle: record how an attempt ended.
-- KEYS  1 outbox ZSET  2 claimed HASH  3 delivered HASH  4 dead HASH  5 attempts STREAM  6 stats HASH
--       7.. insight STRING of each row's customer
-- ARGV  1 coalescing window [ms], then for each row nine: row, token, outcome (ok, unchanged, retry,
--       dead), insight version, digest, delivery id, wait [ms] (retry), claim to keep (retry, dead),
--       detail for the log
-- Returns for each row 1 settled, 0 the claim is not ours any more.
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local answer = {}
for i = 7, #KEYS do
  local at = 1 + 9 * (i - 7)
  local row, outcome, version = ARGV[at + 1], ARGV[at + 3], ARGV[at + 4]
  local held = redis.call('HGET', KEYS[2], row)
  if not held or string.match(held, '^([^|]*)|') ~= ARGV[at + 2] then
    answer[#answer + 1] = 0
  else
    local newest = string.match(redis.call('GETRANGE', KEYS[i], 0, 24), '^(%d+)|') or '0'
    if outcome == 'ok' then
      redis.call('HSET', KEYS[3], row, version .. '|' .. now_ms .. '|' .. ARGV[at + 5] .. '|' .. ARGV[at + 6])
      redis.call('HDEL', KEYS[4], row)
    elseif outcome == 'dead' then
      redis.call('HSET', KEYS[4], row, now_ms .. '|' .. ARGV[at + 9] .. '\n' .. ARGV[at + 8])
    end
    if outcome == 'retry' then
      redis.call('HSET', KEYS[2], row, ARGV[at + 8])
      redis.call('ZADD', KEYS[1], now_ms + tonumber(ARGV[at + 7]), row)
    else
      redis.call('HDEL', KEYS[2], row)
      if newest == version then
        redis.call('ZREM', KEYS[1], row)
      else
        redis.call('ZADD', KEYS[1], now_ms + (outcome == 'ok' and tonumber(ARGV[1]) or 0), row)
      end
    end
    if outcome ~= 'unchanged' then
      redis.call('XADD', KEYS[5], 'MAXLEN', '~', '2000', '*', 'row', row, 'outcome', outcome,
                 'delivery', ARGV[at + 6], 'version', version, 'detail', ARGV[at + 9])
    end
    redis.call('HINCRBY', KEYS[6], outcome, 1)
    answer[#answer + 1] = 1
  end
end
return answer
