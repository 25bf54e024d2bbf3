-- ARGV: now, limit. Returns how many expired records were removed, and 1 when none was left to remove.
redis.call('ZCARD', expiry_key)  -- raises where a sweep would find nothing in a key of the wrong type
local expired, seen = sweep(ARGV[2], ARGV[1])
publish()
return {expired, seen < tonumber(ARGV[2]) and 1 or 0}
