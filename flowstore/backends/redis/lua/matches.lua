-- How many entries of ranges of indexes are of records that are in other indexes, too. ARGV: how many entries to look
-- at; "1" for records with fixed facets, "0" for those without, "" for both; "1" if the ranges are sorted by finish;
-- how many groups of other facets, and of each how many facets and these; then the ranges: status, facet, bounds.
-- Returns the last entry that was looked at, or "" if that was all; and the number found in each range, as far as
-- it came. Where an entry of another index has the other time in it, or the facets count, the header of the record
-- is read, and nothing else of it.
local call, sub = redis.call, string.sub
local left, fixed, is_by_finish, at = tonumber(ARGV[1]), ARGV[2], ARGV[3] == '1', 5
local alike, crossed = {}, {}  -- groups whose entries have the same time in them, and the others
for _ = 1, tonumber(ARGV[4]) do
    local size, group = tonumber(ARGV[at]), {}
    for place = 1, size do group[place] = ARGV[at + place] end
    local groups = (string.byte(group[1]) == 126) == is_by_finish and alike or crossed
    groups[#groups + 1], at = group, at + size + 1
end

-- Those of the entries that are in one of the indexes, which are asked for what the one before does not have.
local function found_in(index, group, entries)
    local found = {}
    for _, facet in ipairs(group) do
        if #entries == 0 then break end
        local scores, others = call('ZMSCORE', index .. facet, unpack(entries)), {}
        for place, entry in ipairs(entries) do
            if scores[place] then found[#found + 1] = entry else others[#others + 1] = entry end
        end
        entries = others
    end
    return found
end

-- By the header of each record, see format.py: its entry with the other time, if its fixed facets are as asked for.
local function with_other_time(entries)
    local others = {}
    for _, entry in ipairs(entries) do
        local id = sub(entry, 9)
        local value = redis.pcall('GETRANGE', KEYS[1] .. 'r:' .. id, '0', '99')
        if type(value) == 'string' and #value == 100 and string.byte(value) == 51 and
            (fixed == '' or (fixed == '1') == (struct.unpack('>I4', value, 53) > 0)) then
            others[#others + 1] = (is_by_finish and sub(value, 27, 34) or sub(value, 35, 42)) .. id
        end
    end
    return others
end

local function matching(index, entries)
    for _, group in ipairs(alike) do entries = found_in(index, group, entries) end
    if fixed ~= '' or #crossed > 0 then entries = with_other_time(entries) end
    for _, group in ipairs(crossed) do entries = found_in(index, group, entries) end
    return #entries
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
