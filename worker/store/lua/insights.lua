#!lua flags=allow-oom
-- insights: write refreshed insights of one shard, each by compare-and-set.
-- KEYS  1 refresh lease  2 dirty ZSET  3 quiet ZSET  4 due ZSET  5 transitions ZSET  6 stats HASH
--       7 delivered HASH  8 stale ZSET
--       then the outbox ZSET of each destination of insights, and of each destination of events
--       then for each customer: insight STRING, and the lane LIST of each destination of events
-- ARGV  1 lease token  2 keep transitions from [Unix s]
--       3 number of destinations of insights  4 of events  5 model generation through which these
--       insights are scored, 0 = a part of it could not be read  then the names of those of insights
--       then for each customer eleven: customer, expected insight version, profile sequence,
--       model generation, as of [Unix s], insight ('' = keep the one there), push ('1'; 'known' = only
--       to destinations that have heard of the customer; 'later', 'known later' = what others' events
--       changed: it waits, and what the customer does meanwhile goes at once; or ''), transitions ('' none,
--       else joined by \30, each behind a 1 or 0 for each destination of events: does it get it? and
--       a bar), next due [Unix s], sequence of the mark ('' none), not to be told before [ms] ('' = now)
-- Returns for each customer 1 written, 0 refused (somebody else wrote, or wrote something newer; or
-- the clock's turn came while a mark waits: its refresh knows whom to tell, and what the cause is).
-- Header of an insight: version|sequence|generation|as of|material digest|state|told figures\n
-- Event in a lane: put at [ms]|as of [Unix s]|transition
-- A row that waits for others' events, or for the cap of a new model, has a due time with half a
-- millisecond.
-- The outbox row comes first: a row without news costs one look, news without a row would be lost.
local LATER_MS = 1500.5
local answer = {}
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local written, pushed, moved = 0, 0, 0
local n_states, n_streams = tonumber(ARGV[3]), tonumber(ARGV[4])
local scored = tonumber(ARGV[5])
local first_key, first_arg = 8 + n_states + n_streams, 5 + n_states
for n = 0, (#KEYS - first_key) / (1 + n_streams) - 1 do
  local insight = first_key + n * (1 + n_streams) + 1
  local at = first_arg + 11 * n
  local paced = ARGV[at + 11] ~= '' and ARGV[at + 11]
  local customer, expected, seq = ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local generation, as_of = tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
  local version, held_seq, held_generation, held_as_of = 0, 0, 0, 0
  local held = redis.call('GETRANGE', KEYS[insight], 0, 120)
  if held ~= '' then
    local a, b, c, d = string.match(held, '^(%d+)|(%d+)|(%d+)|(%d+)|')
    version, held_seq, held_generation, held_as_of = tonumber(a), tonumber(b), tonumber(c), tonumber(d)
  end
  if version ~= expected or seq < held_seq or generation < held_generation
     or (seq == held_seq and generation == held_generation and as_of < held_as_of)
     or (ARGV[at + 10] == ''
         and (redis.call('ZSCORE', KEYS[2], customer) or redis.call('ZSCORE', KEYS[3], customer))) then
    answer[#answer + 1] = 0
  else
    if ARGV[at + 7] ~= '' then
      local whom, is_later = ARGV[at + 7], string.find(ARGV[at + 7], 'later', 1, true)
      for d = 1, n_states do
        local row = ARGV[5 + d] .. '\31' .. customer
        if string.sub(whom, 1, 5) ~= 'known' or redis.call('HEXISTS', KEYS[7], row) == 1 then
          local due = redis.call('ZSCORE', KEYS[8 + d], customer)
          if not due then
            redis.call('ZADD', KEYS[8 + d], paced or (is_later and now_ms + LATER_MS) or now_ms, customer)
            pushed = pushed + 1
          elseif not is_later and not paced and tonumber(due) % 1 ~= 0 then
            redis.call('ZADD', KEYS[8 + d], now_ms, customer)
          end
        end
      end
    end
    local _, count = string.gsub(ARGV[at + 8], '[^\30]+', '')
    for gets, transition in string.gmatch(ARGV[at + 8], '([01]*)|([^\30]+)') do
      local is_new = not redis.call('ZSCORE', KEYS[5], transition)
      for d = 1, is_new and n_streams or 0 do
        if string.sub(gets, d, d) == '1' then
          -- what a failed attempt appended already is not appended again
          local there = false
          for _, event in ipairs(redis.call('LRANGE', KEYS[insight + d], -count, -1)) do
            there = there or string.match(event, '^%d+|%d+|(.*)$') == transition
          end
          if not there then
            redis.call('RPUSH', KEYS[insight + d], now_ms .. '|' .. as_of .. '|' .. transition)
          end
          local lane_due = redis.call('ZSCORE', KEYS[8 + n_states + d], customer)
          if not lane_due then
            pushed = pushed + redis.call('ZADD', KEYS[8 + n_states + d], paced or now_ms, customer)
          elseif not paced and tonumber(lane_due) % 1 ~= 0 then
            redis.call('ZADD', KEYS[8 + n_states + d], now_ms, customer)
          end
        end
      end
      moved = moved + redis.call('ZADD', KEYS[5], as_of, transition)
    end
    if ARGV[at + 6] ~= '' then
      redis.call('SET', KEYS[insight], ARGV[at + 6])
      written = written + 1
    end
    redis.call('ZADD', KEYS[4], ARGV[at + 9], customer)
    local stale = scored > 0 and redis.call('ZSCORE', KEYS[8], customer)
    if stale and tonumber(stale) <= scored then redis.call('ZREM', KEYS[8], customer) end
    local mark = tonumber(ARGV[at + 10])
    for key = 2, 3 do
      local score = mark and redis.call('ZSCORE', KEYS[key], customer)
      if score and tonumber(score) <= mark then redis.call('ZREM', KEYS[key], customer) end
    end
    answer[#answer + 1] = 1
  end
end
if moved > 0 then redis.call('ZREMRANGEBYSCORE', KEYS[5], '-inf', '(' .. ARGV[2]) end
redis.call('HINCRBY', KEYS[6], 'written', written)
redis.call('HINCRBY', KEYS[6], 'pushed', pushed)
redis.call('HINCRBY', KEYS[6], 'transitions', moved)
if ARGV[1] ~= '' and redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return answer
