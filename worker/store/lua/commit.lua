#!lua flags=allow-oom
-- commit: apply one batch of a shard's stream, exactly once.
-- KEYS  1 meta HASH  2 epoch  3 ingest lease  4 tries HASH  5 events STREAM  6 dirty ZSET  7 quiet ZSET
--       8 customers SET  9 due ZSET  10 deltas STREAM  11 quarantine STREAM
--       12.. one STRING for each write, in order; a customer's profile comes behind its other values
-- ARGV  1 number of ARGV  2 epoch  3 cursor that was read  4 target cursor  5 lease token ('' none)
--       6 trim the stream below this id ('' not)  7 delta ('' none)
--       8 strings of meta  9 loud marks  10 quiet marks  11 new customers  12 quarantined  13 sequence
--       14 single entries still to come (0 = none, see `begin`)
--       then: meta field, value ..; loud customer ..; quiet customer ..; new customer, due [Unix s] ..;
--       quarantined id, reason, path, detail, raw, quiet ('1' or '') ..;
--       write offset, bytes ..
--       offset -1: a profile, whole; -2: another whole value, held back until its profile
-- Returns 1 applied, 2 the cursor is at the target already, 0 refused (other epoch or cursor).
-- A server keeps what a failing script wrote. So everything is checked first; all writes are absolute,
-- and a batch that is repeated after a failure ends in the same state: marks before profiles, a
-- profile behind what is appended to its cold part and memory (it names how much of them counts) and
-- in one MSET with what replaces bytes that count, the cursor last.
local argc = tonumber(ARGV[1])
if argc ~= #ARGV then return redis.error_reply('ERR commit: expected ' .. ARGV[1] .. ' arguments') end
local n_meta, n_loud, n_quiet = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local n_new, n_bad, seq = tonumber(ARGV[11]), tonumber(ARGV[12]), ARGV[13]
local n_writes = #KEYS - 11
if 14 + n_meta + n_loud + n_quiet + 2 * n_new + 6 * n_bad + 2 * n_writes ~= argc then
  return redis.error_reply('ERR commit: the counts do not add up')
end
local expected_types = {'hash', 'string', 'string', 'hash', 'stream', 'zset', 'zset', 'set', 'zset',
                        'stream', 'stream'}
for i, wanted in ipairs(expected_types) do
  local found = redis.call('TYPE', KEYS[i]).ok
  if found ~= 'none' and found ~= wanted then
    return redis.error_reply('WRONGTYPE commit: ' .. KEYS[i] .. ' is a ' .. found)
  end
end
for i = 12, #KEYS do -- by the length: a type is answered as a table, of which there would be hundreds
  if type(redis.pcall('STRLEN', KEYS[i])) ~= 'number' then
    return redis.error_reply('WRONGTYPE commit: ' .. KEYS[i] .. ' is no string')
  end
end
local cursor = redis.call('HGET', KEYS[1], 'cursor') or '0-0'
if redis.call('GET', KEYS[2]) ~= ARGV[2] then return 0 end
if cursor == ARGV[4] then return 2 end
if cursor ~= ARGV[3] then return 0 end

-- Ids are explicit; an id that is not above the top comes from an attempt that failed further down.
local function was_tried(reply)
  if type(reply) ~= 'table' or not reply.err then return false end
  if not string.find(reply.err, 'equal or smaller', 1, true) then error(reply.err) end
  return true
end
local function hold(id, ...)
  if was_tried(redis.pcall('XADD', KEYS[11], id, ...)) and #redis.call('XRANGE', KEYS[11], id, id) == 0 then
    redis.call('XADD', KEYS[11], '*', ...)
  end
end
local function mark(key, from, count)
  local marks = {}
  for i = 1, count do marks[2 * i - 1], marks[2 * i] = seq, ARGV[from + i] end
  if count > 0 then redis.call('ZADD', key, unpack(marks)) end
end
local at = 14 + n_meta
mark(KEYS[6], at, n_loud)
at = at + n_loud
mark(KEYS[7], at, n_quiet)
at = at + n_quiet
for i = at + 1, at + 2 * n_new, 2 do
  redis.call('SADD', KEYS[8], ARGV[i])
  redis.call('ZADD', KEYS[9], 'NX', ARGV[i + 1], ARGV[i])
end
at = at + 2 * n_new
for i = at + 1, at + 6 * n_bad, 6 do
  hold(ARGV[i], 'reason', ARGV[i + 1], 'path', ARGV[i + 2], 'detail', ARGV[i + 3],
       'event', ARGV[i + 4], 'quiet', ARGV[i + 5])
end
at = at + 6 * n_bad
if ARGV[7] ~= '' then
  local delta = {'MAXLEN', '~', '5000', ARGV[4], 'seq', seq, 'changed', ARGV[7]}
  if was_tried(redis.pcall('XADD', KEYS[10], unpack(delta))) then
    delta[4] = '*' -- whoever followed the failed attempt's saw profiles that were not there yet
    redis.call('XADD', KEYS[10], unpack(delta))
  end
end
local whole, n_whole = {}, 0 -- keys and values; Lua takes 8000 arguments in one call
for i = 1, n_writes do
  local key, offset, value = KEYS[11 + i], ARGV[at + 2 * i - 1], ARGV[at + 2 * i]
  if offset == '-1' or offset == '-2' then
    whole[n_whole + 1], whole[n_whole + 2] = key, value
    n_whole = n_whole + 2
    if offset == '-1' and n_whole > 1000 then
      redis.call('MSET', unpack(whole, 1, n_whole))
      n_whole = 0
    end
  else
    redis.call('SETRANGE', key, offset, value)
  end
end
if n_whole > 0 then redis.call('MSET', unpack(whole, 1, n_whole)) end
if ARGV[6] ~= '' then redis.call('XTRIM', KEYS[5], 'MINID', '~', ARGV[6]) end
if ARGV[14] == '0' then
  redis.call('DEL', KEYS[4])
else
  redis.call('HSET', KEYS[4], 'cursor', ARGV[4], 'count', 2, 'left', ARGV[14])
end
if ARGV[5] ~= '' and redis.call('GET', KEYS[3]) == ARGV[5] then redis.call('DEL', KEYS[3]) end
redis.call('HSET', KEYS[1], 'cursor', ARGV[4], unpack(ARGV, 15, 14 + n_meta))
return 1
