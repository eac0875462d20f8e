#!lua flags=allow-oom
-- claim: take due outbox rows of one shard for sending.
-- KEYS  1 outbox ZSET  2 claimed HASH  3 delivered HASH  4.. insight STRING of each row's customer
-- ARGV  1 token  2 lease [ms]  3 coalescing window [ms]  4.. row (destination \31 customer), one a key
-- Returns for each claimed row {row, claim, insight, delivered}; rows not due are left out.
-- Claim:     token|attempts|delivery id|insight version|first attempt [ms]\n body
-- Delivered: insight version|sent [ms]|digest|delivery id
-- A claimed row is due again when its lease ends: a sender that died is followed by another.
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local answer = {}
for i = 4, #KEYS do
  local row = ARGV[i]
  local due = redis.call('ZSCORE', KEYS[1], row)
  local claim = redis.call('HGET', KEYS[2], row) or ''
  local ours = string.sub(claim, 1, #ARGV[1] + 1) == ARGV[1] .. '|' -- the reply of this call was lost
  if due and (ours or tonumber(due) <= now_ms) then
    local delivered = redis.call('HGET', KEYS[3], row) or ''
    local sent_ms = tonumber(string.match(delivered, '^%d+|(%d+)|') or '0')
    if claim == '' and now_ms < sent_ms + tonumber(ARGV[3]) then
      redis.call('ZADD', KEYS[1], sent_ms + tonumber(ARGV[3]), row)
    else
      local rest = claim == '' and '|0||0|0\n' or string.match(claim, '^[^|]*(|.*)$')
      redis.call('HSET', KEYS[2], row, ARGV[1] .. rest)
      redis.call('ZADD', KEYS[1], now_ms + tonumber(ARGV[2]), row)
      answer[#answer + 1] = {row, ARGV[1] .. rest, redis.call('GET', KEYS[i]) or '', delivered}
    end
  end
end
return answer
