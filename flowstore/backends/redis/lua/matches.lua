-- How many entries of ranges of indexes are of records that are in other indexes, too. ARGV: how many entries to look
-- at; "1" for records with fixed facets, "0" for those without, "" for both; "1" if the ranges are sorted by finish;
-- how many groups of other facets, and of each how many facets and these; then the ranges: status, facet, bounds.
-- Returns the last entry that was looked at, or "" if that was all; and the number found in each range, as far as
-- it came. Where an entry of another index has the other time in it, or the facets count, the header of the record
-- is read, and nothing else of it.
local call, sub = redis.call, string.sub
local left, fixed, is_by_finish, at = tonumber(ARGV[1]), ARGV[2], ARGV[3] == '1', 5
local groups, needs_header = {}, fixed ~= ''
for number = 1, tonumber(ARGV[4]) do
    local size, group = tonumber(ARGV[at]), {}
    for place = 1, size do
        local facet = ARGV[at + place]
        group[place] = {name = facet, is_crossed = (string.byte(facet) == 126) ~= is_by_finish}
        needs_header = needs_header or group[place].is_crossed
    end
    groups[number], at = group, at + size + 1
end

-- What the header of each record says: the entry with its other time, and whether it passes. See format.py.
local function crossed(entries)
    local others, passes = {}, {}
    for place, entry in ipairs(entries) do
        local id = sub(entry, 9)
        local value = redis.pcall('GETRANGE', KEYS[1] .. 'r:' .. id, '0', '99')
        local is_record = type(value) == 'string' and #value == 100 and string.byte(value) == 51
        others[place] = (is_record and sub(value, is_by_finish and 27 or 35, is_by_finish and 34 or 42) or '') .. id
        passes[place] = is_record and (fixed == '' or (fixed == '1') == (struct.unpack('>I4', value, 53) > 0))
    end
    return others, passes
end

local function matching(index, entries)
    local others, passes = nil, {}
    if needs_header then others, passes = crossed(entries) end
    local count, scores = 0, {}
    for number, group in ipairs(groups) do
        scores[number] = {}
        for place, facet in ipairs(group) do
            local asked = facet.is_crossed and others or entries
            scores[number][place] = call('ZMSCORE', index .. facet.name, unpack(asked))
        end
    end
    for place = 1, #entries do
        local is_match = passes[place] ~= false
        for number = 1, #groups do
            local has_one = false
            for _, found in ipairs(scores[number]) do has_one = has_one or found[place] end
            is_match = is_match and has_one
        end
        if is_match then count = count + 1 end
    end
    return count
end

local counts, last = {}, ''
while at <= #ARGV and left > 0 do
    local index, count = KEYS[1] .. 'i:' .. ARGV[at] .. ':', 0
    local entries = call('ZRANGEBYLEX', index .. ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], 'LIMIT', '0', tostring(left))
    for first = 1, #entries, 1000 do  -- there is a limit to how many arguments Lua can pass
        count = count + matching(index, {unpack(entries, first, math.min(first + 999, #entries))})
    end
    counts[#counts + 1], left, at = count, left - #entries, at + 4
    if left == 0 then last = entries[#entries] end
end
return {last, counts}
