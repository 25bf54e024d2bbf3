-- ARGV: groups, or none for all of them. Returns a list of each and what is stored of it, see tally.lua.
if #ARGV == 0 then return redis.call('HGETALL', KEYS[1] .. 'p') end
local found = {}
for place, value in ipairs(redis.call('HMGET', KEYS[1] .. 'p', unpack(ARGV))) do
    if value then found[#found + 1], found[#found + 2] = ARGV[place], value end
end
return found
