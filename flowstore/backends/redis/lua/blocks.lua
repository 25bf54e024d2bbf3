-- ARGV: names of hashes of counters, see tally.lua. Returns the fields and values of each.
local found = {}
for place, name in ipairs(ARGV) do
    local fields = redis.pcall('HGETALL', KEYS[1] .. 's:' .. name)
    found[place] = fields.err and {} or fields
end
return found
