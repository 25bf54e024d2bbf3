-- Returns the names of all series that have counters, see tally.lua.
local names = redis.pcall('ZRANGE', KEYS[1] .. 's:', '0', '-1')
return names.err and {} or names
