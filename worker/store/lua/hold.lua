#!lua flags=allow-oom
-- hold: keep what is about to be sent with its claim, so that a repeated attempt sends the same.
-- KEYS  1 claimed HASH
-- ARGV  for each row: row (destination \31 customer), token, claim (see `claim`)
-- Returns for each row 1 held, 0 the claim is not ours any more.
local answer = {}
for i = 1, #ARGV, 3 do
  local held = redis.call('HGET', KEYS[1], ARGV[i])
  if held and string.match(held, '^([^|]*)|') == ARGV[i + 1] then
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 2])
    answer[#answer + 1] = 1
  else
    answer[#answer + 1] = 0
  end
end
return answer
