-- KEYS: prefix of the namespace, its format, as in heads.lua. ARGV for each record: id, how many ranges follow,
-- then the lowest and highest version of each, rising. Returns the record up to its transitions, with those of
-- the ranges that are in the list beside it; false where there is none.
--
-- Versions rise in the list, mostly one by one, so the place of one is guessed, and searched for where that
-- is wrong.
local found, at = {}, 1

local function version_at(log, place)
    local item = redis.call('LINDEX', log, string.format('%.0f', place))
    return item and #item >= 16 and struct.unpack('>I8', item, 9) or 0
end

-- The place of the first item of at least this version.
local function place_of(log, version, low, high, guess)
    while low < high do
        local place = guess and math.max(low, math.min(guess, high - 1)) or math.floor((low + high) / 2)
        local there = version_at(log, place)
        guess = nil
        if there == version then return place end
        if there < version then low = place + 1 else high = place end
    end
    return low
end

while at <= #ARGV do
    local id, ranges = ARGV[at], tonumber(ARGV[at + 1])
    local key, log = KEYS[1] .. 'r:' .. id, KEYS[1] .. 'h:' .. id
    local value = redis.pcall('GETRANGE', key, '0', '1023')
    if type(value) == 'table' then
        if not string.find(value.err, 'WRONGTYPE', 1, true) then return value end
        value = 'not a string'
    elseif #value >= 100 and string.byte(value) == 51 then
        local history, extras, token, fixed, facets =
            struct.unpack('>I4BxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxHI4I4', value, 12)
        local stop, size = 100 + token + fixed + facets + history, nil
        if #value > stop then
            value = string.sub(value, 1, stop)
        elseif #value == 1024 and #value < stop then
            value = value .. redis.call('GETRANGE', key, '1024', string.format('%.0f', stop - 1))
        end
        size = extras % 2 == 1 and redis.pcall('LLEN', log) or 0
        local older = {}
        if type(size) == 'number' and size > 0 then
            local place, shift = 0, version_at(log, 0)
            for range = at + 2, at + 2 * ranges, 2 do
                local low, high = tonumber(ARGV[range]), tonumber(ARGV[range + 1])
                place = place_of(log, low, place, size, low - shift)
                local last = string.format('%.0f', place + high - low)
                local items = redis.call('LRANGE', log, string.format('%.0f', place), last)
                older[#older + 1] = table.concat(items)
                shift = low - place
            end
        end
        value = {value, table.concat(older)}
    end
    found[#found + 1] = value ~= '' and value or false
    at = at + 2 + 2 * ranges
end
return found
