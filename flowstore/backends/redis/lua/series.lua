-- Returns the names of all series that have counters, see tally.lua, or a total, see fold.lua; some twice.
local names = redis.pcall('ZRANGE', KEYS[1] .. 's:', '0', '-1')
local totals = redis.pcall('ZRANGEBYSCORE', KEYS[1] .. 's', '+inf', '+inf')
if names.err then names = {} end
for _, name in ipairs(totals.err and {} or totals) do
    if string.sub(name, 1, 2) == 't:' then names[#names + 1] = string.sub(name, 3) end
end
return names
