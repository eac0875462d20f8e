#!lua flags=no-writes
-- heads: the members of lowest score of ZSETs; on one server those of all shards in one call.
-- KEYS  1.. ZSET
-- ARGV  1 highest score, 'now' = the server's clock [Unix ms]  2.. of each ZSET: members at most
-- Returns of each ZSET that has any {its number among KEYS, member, score, member, score ..}.
local highest = ARGV[1]
if highest == 'now' then
  local time = redis.call('TIME')
  highest = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
end
local answer = {}
for i = 1, #KEYS do
  local found = redis.call('ZRANGEBYSCORE', KEYS[i], '-inf', highest, 'WITHSCORES', 'LIMIT', 0, ARGV[i + 1])
  if #found > 0 then
    table.insert(found, 1, i)
    answer[#answer + 1] = found
  end
end
return answer
