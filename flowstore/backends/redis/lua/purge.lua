-- ARGV: now, limit. Returns how many expired records were removed, and 1 when none was left to remove.
local answered = begin_even_when_full()
if answered then return answered end
redis.call('ZCARD', expiry_key)  -- raises for a key of the wrong type, where `sweep` would just find nothing
local expired, seen = sweep(ARGV[2], ARGV[1])
publish()
return answer({expired, seen < tonumber(ARGV[2]) and 1 or 0})
