#!lua flags=allow-oom
-- train_take: begin the training of one kind: what waits, or what a trainer that ended left behind.
-- KEYS  1 waiting HASH  2 running HASH  3 lease
-- ARGV  1 kind  2 token  3 lease [ms]  4 now [Unix ms]
-- Returns the record of the run (JSON), or '' when nothing is wanted or another trains.
-- Repeated with the same token (its reply was lost) it answers the same. What waits and what was left
-- become one run: it comes after both.
local running = redis.call('HGET', KEYS[2], ARGV[1])
local waiting = redis.call('HGET', KEYS[1], ARGV[1])
local holder = redis.call('GET', KEYS[3])
if holder then return holder == ARGV[2] and running or '' end
if not running and not waiting then return '' end
local run = {reasons = {}, attempts = 0}
if running then run = cjson.decode(running) end
if waiting then
  for _, reason in ipairs(cjson.decode(waiting).reasons) do
    local known = false
    for _, one in ipairs(run.reasons) do known = known or one == reason end
    if not known then run.reasons[#run.reasons + 1] = reason end
  end
end
run.attempts = run.attempts + 1
run.token, run.started_ms, run.beat_ms = ARGV[2], tonumber(ARGV[4]), tonumber(ARGV[4])
run.stage, run.done, run.cancelled = 'begin', 0, false
local record = cjson.encode(run)
redis.call('HSET', KEYS[2], ARGV[1], record)
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('SET', KEYS[3], ARGV[2], 'PX', ARGV[3])
return record
