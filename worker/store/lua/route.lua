#!lua flags=allow-oom
-- route: append intake entries to a shard, each once.
-- KEYS  1 events STREAM  2 routed
-- ARGV  for each entry, in order of the intake: intake id [ms-seq], quiet ('1' or ''), event
-- Returns how many were appended.
-- `routed` moves with every entry: a script that fails between the two adds one entry twice, and the
-- event's id makes that harmless.
local function parts(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(seq)
end
local done_ms, done_seq = parts(redis.call('GET', KEYS[2]) or '0-0')
local added = 0
for i = 1, #ARGV, 3 do
  local ms, seq = parts(ARGV[i])
  if ms > done_ms or (ms == done_ms and seq > done_seq) then
    if ARGV[i + 1] == '1' then
      redis.call('XADD', KEYS[1], '*', 'event', ARGV[i + 2], 'intake', ARGV[i], 'quiet', '1')
    else
      redis.call('XADD', KEYS[1], '*', 'event', ARGV[i + 2], 'intake', ARGV[i])
    end
    redis.call('SET', KEYS[2], ARGV[i])
    added = added + 1
  end
end
return added
