#!lua flags=allow-oom
-- claim: take due rows of one shard and one destination for sending.
-- KEYS  1 outbox ZSET  2 claimed HASH  3 delivered HASH
--       4.. of each row's customer the insight STRING, or the lane LIST of a destination of events
-- ARGV  1 token  2 destination  3 lease [ms]  4 coalescing window [ms]  5 its maximum [ms]
--       6 '1' for a destination of events, else ''  7.. customer, one a key
-- Returns for each claimed row {customer, claim, insight or event, delivered}; rows that are not due,
-- or are put off, are left out.
-- Claim:     token|attempts|delivery id|insight version|first [ms]|part|doubt, if any\n content
-- Delivered: insight version|sent [ms]|digest|delivery id\n content
-- A claimed row is due again when its lease ends: a sender that died is followed by another.
-- A due time with half a millisecond is that of what others' events changed: sending that begins no
-- window, so that the customer's own news need not wait behind it. The claim's row then has a second
-- field, row\31, with the time of the delivery before.
-- Coalescing: the first change goes at once. What changes within the window behind a delivery waits
-- for its end, and as long as it keeps changing for another window, up to the maximum. What waits is
-- a claim without token and delivery id; its version is the insight's when it was last looked at.
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local window_ms, max_ms, is_stream = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6] == '1'

local function put_off(customer, due, claim, insight, delivered)
  local version = string.match(insight, '^(%d+)|') or '0'
  local until_ms, first_ms
  if claim == '' then
    first_ms = due
    until_ms = tonumber(string.match(delivered, '^[1-9]%d*|(%d+)|') or 0) + window_ms
  else
    local seen, first = string.match(claim, '^|0||(%d+)|(%d+)|')
    if not seen or seen == version then return false end
    first_ms = tonumber(first)
    until_ms = math.min(now_ms + window_ms, first_ms + max_ms)
  end
  if until_ms <= now_ms then return false end
  redis.call('HSET', KEYS[2], ARGV[2] .. '\31' .. customer,
             string.format('|0||%s|%.0f|\n', version, first_ms))
  redis.call('ZADD', KEYS[1], string.format('%.0f', until_ms), customer)
  return true
end

local answer = {}
for i = 4, #KEYS do
  local customer = ARGV[i + 3]
  local row = ARGV[2] .. '\31' .. customer
  local due = redis.call('ZSCORE', KEYS[1], customer)
  due = due and tonumber(due)
  local claim = redis.call('HGET', KEYS[2], row) or ''
  local ours = string.sub(claim, 1, #ARGV[1] + 1) == ARGV[1] .. '|' -- the reply of this call was lost
  if due and (ours or due <= now_ms) then
    local delivered = redis.call('HGET', KEYS[3], row) or ''
    local content
    if is_stream then content = redis.call('LINDEX', KEYS[i], 0) else content = redis.call('GET', KEYS[i]) end
    content = content or ''
    if is_stream or not put_off(customer, due, claim, content, delivered) then
      if not is_stream and due % 1 ~= 0 then
        redis.call('HSET', KEYS[2], row .. '\31', string.match(delivered, '^%d+|(%d+)|') or '0')
      elseif not ours and claim == '' then
        redis.call('HDEL', KEYS[2], row .. '\31')
      end
      local rest = claim == '' and '|0||0|0|\n' or string.match(claim, '^[^|]*(|.*)$')
      redis.call('HSET', KEYS[2], row, ARGV[1] .. rest)
      redis.call('ZADD', KEYS[1], now_ms + tonumber(ARGV[3]), customer)
      answer[#answer + 1] = {customer, ARGV[1] .. rest, content, delivered}
    end
  end
end
return answer
