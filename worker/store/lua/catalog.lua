#!lua flags=allow-oom
-- catalog: state items of the catalog; the newest statement of an item wins.
-- KEYS  1 catalog HASH  2 catalog version STRING
-- ARGV  triples: item id, stated at [Unix s] with the statement's tie-breaker, statement (JSON)
-- Returns how many items changed. A repeated call changes nothing.
-- A value is `stated-at SPACE JSON`; equal texts compare as they were written, 10 digits first.
-- Both keys carry {global}: one slot. The version comes last: who reads it late reads again.
local changed = 0
for i = 1, #ARGV, 3 do
  local held = redis.call('HGET', KEYS[1], ARGV[i])
  local before = held and string.sub(held, 1, string.find(held, ' ', 1, true) - 1) or ''
  if ARGV[i + 1] > before then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1] .. ' ' .. ARGV[i + 2])
    changed = changed + 1
  end
end
if changed > 0 then redis.call('INCR', KEYS[2]) end
return changed
