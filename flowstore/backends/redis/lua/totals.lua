-- ARGV: the first day of which there may be counters where `s:f` does not say it, the last one, and series behind "=", or
-- "" for one without a total.
-- Returns of each the fields and values of its total, and of the days that are not added to it, see fold.lua.
local first, found = redis.pcall('GET', KEYS[1] .. 's:f'), {}
first = math.floor(type(first) == 'string' and tonumber(first) or tonumber(ARGV[1]))
local function fields_of(name)
    local fields = redis.pcall('HGETALL', KEYS[1] .. 's:' .. name)
    return fields.err and {} or fields
end
for place = 3, #ARGV do
    local of_one, series = {}, string.sub(ARGV[place], 2)
    if ARGV[place] ~= '' then
        of_one[1] = fields_of('t:' .. series)
        for day = first, tonumber(ARGV[2]) do
            local name = string.format('h:%.0f:%s', day, series)
            if redis.pcall('HEXISTS', KEYS[1] .. 's:' .. name, 'f') ~= 1 then of_one[#of_one + 1] = fields_of(name) end
        end
    end
    found[place - 2] = of_one
end
return found
