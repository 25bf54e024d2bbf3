-- ARGV: now, limit. Returns how many expired records were removed, and 1 when none was left to remove.
local said = begin_even_when_full()
if said then return said end
redis.call('ZCARD', expiry_key)  -- raises where a sweep would find nothing in a key of the wrong type
local expired, seen = sweep(ARGV[2], ARGV[1])
publish()
return say({expired, seen < tonumber(ARGV[2]) and 1 or 0})
