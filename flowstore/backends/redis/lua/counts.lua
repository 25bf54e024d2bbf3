-- How many entries of some indexes are within bounds, by their ranks: none is fetched. ARGV, for each count: how many
-- of the first to count at most, or "" for all; bounds; how many indexes, and their names. Returns for each the last
-- entry that counts, or "" where there are no others behind it, and the number in each index.
local call = redis.call

-- The rank behind the entries up to a bound, or with `is_low` of the first one that is not below it.
local function rank(key, bound, is_low)
    if bound == '-' then return 0 end
    if bound == '+' then return call('ZCARD', key) end
    if is_low then bound = (string.sub(bound, 1, 1) == '[' and '(' or '[') .. string.sub(bound, 2) end
    return call('ZLEXCOUNT', key, '-', bound)
end

-- Cuts ranges of ranks down to the first `most` of all their entries together; returns the last of these. The middle
-- of the widest range that is still in doubt is either among them, with all that come before it, or it is not.
local function cut(keys, starts, stops, most)
    local lows, highs, last = {unpack(starts)}, {unpack(stops)}, ''
    while true do
        local widest, width = nil, 0
        for place = 1, #keys do
            if highs[place] - lows[place] > width then widest, width = place, highs[place] - lows[place] end
        end
        if not widest then break end
        local middle = lows[widest] + math.floor((width - 1) / 2)
        local entry = call('ZRANGE', keys[widest], tostring(middle), tostring(middle))[1]
        local ranks, total = {}, 0
        for place = 1, #keys do
            ranks[place] = call('ZLEXCOUNT', keys[place], '-', '[' .. entry)
            total = total + ranks[place] - starts[place]
        end
        if total <= most then
            lows, last = ranks, entry
        else
            highs = ranks
            highs[widest] = middle
        end
        if total == most then break end
    end
    for place = 1, #keys do stops[place] = lows[place] end
    return last
end

local at, found = 1, {}
while at <= #ARGV do
    local most, low, high, size = tonumber(ARGV[at]), ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
    local keys, starts, stops, total, last = {}, {}, {}, 0, ''
    for place = 1, size do
        local key = KEYS[1] .. ARGV[at + 3 + place]
        keys[place], starts[place] = key, rank(key, low, true)
        stops[place] = math.max(starts[place], rank(key, high, false))
        total = total + stops[place] - starts[place]
    end
    if most and total > most then last = cut(keys, starts, stops, most) end
    for place = 1, size do stops[place] = stops[place] - starts[place] end
    found[#found + 1] = {last, stops}
    at = at + 4 + size
end
return found
