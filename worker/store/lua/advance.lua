#!lua flags=allow-oom
-- advance: move the intake cursor on.
-- KEYS  1 intake cursor  2 intake quarantine STREAM  3 intake STREAM
-- ARGV  1 new cursor [ms-seq], then for each refused entry: id, reason, path, detail, event,
--       quiet ('1' or '')
-- Returns 1 moved, 0 the cursor is there or further already.
local function parts(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(seq)
end
local at_ms, at_seq = parts(redis.call('GET', KEYS[1]) or '0-0')
local ms, seq = parts(ARGV[1])
if ms < at_ms or (ms == at_ms and seq <= at_seq) then return 0 end
for i = 2, #ARGV, 6 do
  local reply = redis.pcall('XADD', KEYS[2], ARGV[i], 'reason', ARGV[i + 1], 'path', ARGV[i + 2],
                            'detail', ARGV[i + 3], 'event', ARGV[i + 4], 'quiet', ARGV[i + 5])
  if type(reply) == 'table' and reply.err and not string.find(reply.err, 'equal or smaller', 1, true) then
    error(reply.err)
  end
end
redis.call('SET', KEYS[1], ARGV[1])
redis.call('XTRIM', KEYS[3], 'MINID', ARGV[1])
return 1
