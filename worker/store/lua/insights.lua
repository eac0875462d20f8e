#!lua flags=allow-oom
-- insights: write refreshed insights of one shard, each by compare-and-set.
-- KEYS  1 refresh lease  2 dirty ZSET  3 quiet ZSET  4 due ZSET  5 outbox ZSET  6 transitions ZSET
--       7 stats HASH  8 delivered HASH  9.. insight STRING of each customer
-- ARGV  1 lease token  2 destinations ('' none, else joined by \31)  3 keep transitions from [Unix s]
--       then for each customer ten: customer, expected insight version, profile sequence,
--       model generation, as of [Unix s], insight ('' = keep the one there), push ('1', 'known' = only
--       to destinations that have heard of the customer, or ''), transitions ('' none, else joined by \30), next due [Unix s], sequence of the mark ('' none)
-- Returns for each customer 1 written, 0 refused (somebody else wrote, or wrote something newer; or
-- the clock's turn came while a quiet mark waits, whose refresh tells nobody).
-- Header of an insight: version|sequence|generation|as of|material digest|state\n
-- The outbox row comes first: a row without news costs one look, news without a row would be lost.
local answer = {}
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local written, pushed, moved = 0, 0, 0
for i = 9, #KEYS do
  local at = 3 + 10 * (i - 9)
  local customer, expected, seq = ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local generation, as_of = tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
  local version, held_seq, held_generation, held_as_of = 0, 0, 0, 0
  local held = redis.call('GETRANGE', KEYS[i], 0, 120)
  if held ~= '' then
    local a, b, c, d = string.match(held, '^(%d+)|(%d+)|(%d+)|(%d+)|')
    version, held_seq, held_generation, held_as_of = tonumber(a), tonumber(b), tonumber(c), tonumber(d)
  end
  if version ~= expected or seq < held_seq or generation < held_generation
     or (seq == held_seq and generation == held_generation and as_of < held_as_of)
     or (ARGV[at + 10] == '' and redis.call('ZSCORE', KEYS[3], customer)) then
    answer[#answer + 1] = 0
  else
    if ARGV[at + 7] ~= '' and ARGV[2] ~= '' then
      for destination in string.gmatch(ARGV[2], '[^\31]+') do
        local row = destination .. '\31' .. customer
        if ARGV[at + 7] == '1' or redis.call('HEXISTS', KEYS[8], row) == 1 then
          pushed = pushed + redis.call('ZADD', KEYS[5], 'NX', now_ms, row)
        end
      end
    end
    for transition in string.gmatch(ARGV[at + 8], '[^\30]+') do
      moved = moved + redis.call('ZADD', KEYS[6], as_of, transition)
    end
    if ARGV[at + 6] ~= '' then
      redis.call('SET', KEYS[i], ARGV[at + 6])
      written = written + 1
    end
    redis.call('ZADD', KEYS[4], ARGV[at + 9], customer)
    local mark = tonumber(ARGV[at + 10])
    for key = 2, 3 do
      local score = mark and redis.call('ZSCORE', KEYS[key], customer)
      if score and tonumber(score) <= mark then redis.call('ZREM', KEYS[key], customer) end
    end
    answer[#answer + 1] = 1
  end
end
if moved > 0 then redis.call('ZREMRANGEBYSCORE', KEYS[6], '-inf', '(' .. ARGV[3]) end
redis.call('HINCRBY', KEYS[7], 'written', written)
redis.call('HINCRBY', KEYS[7], 'pushed', pushed)
redis.call('HINCRBY', KEYS[7], 'transitions', moved)
if ARGV[1] ~= '' and redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return answer
