-- ARGV[8]: what the writes of a call count, "" for nothing. A counter is a field of a hash, and a hash has those of one
-- series in some periods. First the earliest day that they count in, then how many hashes there are, then of each its
-- name and for how many milliseconds it is kept. Then marks, each of which adds to two counters: of each the number of
-- its hash and its field; and a group, "" for none, else with its time as text and as it is stored, and an example. A
-- write has the numbers of its marks, and 2^15 more where one only counts if no record stands.
--
-- It is called by `pcall`, and its own commands are: what goes wrong here must not fail a write that is done.
local function less(one, other)
    local high, low = struct.unpack('>I4I4', one)
    local other_high, other_low = struct.unpack('>I4I4', other)
    return high < other_high or high == other_high and low < other_low
end

local function note(group, score, at, example, number)
    local groups, order = KEYS[1] .. 'p', KEYS[1] .. 'p:last'
    local known = redis.pcall('HGET', groups, group)
    local first, last, total = at, at, 0
    if type(known) == 'string' and #known >= 24 then
        first, last, total = struct.unpack('>c8c8I8', known)
        if less(at, last) then example = string.sub(known, 25) else last = at end
        if less(at, first) then first = at end
    end
    redis.pcall('HSET', groups, group, first .. last .. struct.pack('>I8', total + number) .. example)
    redis.pcall('ZADD', order, 'GT', score, group)
    if not known and redis.call('HLEN', groups) > 2000 then
        local oldest = redis.call('ZRANGE', order, '0', '0')[1]
        if oldest then
            redis.call('HDEL', groups, oldest)
            redis.call('ZREM', order, oldest)
        end
    end
end

-- Note what a write counts, whose marks these are.
local function count_marks(sums, marks, is_first)
    for at = 1, #marks, 2 do
        local mark = struct.unpack('>H', marks, at)
        if mark < 32768 then
            sums[mark] = (sums[mark] or 0) + 1
        elseif is_first then
            sums[mark - 32768] = (sums[mark - 32768] or 0) + 1
        end
    end
end

-- Keep a hash that may be new for as long as its counters are kept.
local function keep(name, kept)
    local expires = string.format('%.0f', ARGV[3] / 1000 + kept)
    local rest = string.byte(name) == 104 and '63072000000' or '0'  -- hours go once they are added up: two years
    redis.pcall('PEXPIRE', KEYS[1] .. 's:' .. name, string.format('%.0f', kept + rest))
    redis.pcall('ZADD', KEYS[1] .. 's', expires, name)
    redis.pcall('ZADD', KEYS[1] .. 's:', 'GT', expires, string.match(name, '^%a:%-?%d+:(.*)$'))
end

-- The day of `s:f`, see fold.lua, if a call counts in one that is in the totals, or some of it; else nil.
-- What is counted first says which day that is; where others have counted, who knew of no totals, one before theirs.
local function day_of_late(text)
    local earliest, day = struct.unpack('>i4', text), redis.pcall('GET', KEYS[1] .. 's:f')
    if not day then
        day = earliest - (redis.call('EXISTS', KEYS[1] .. 's:') > 0 and 93 or 0)
        redis.pcall('SET', KEYS[1] .. 's:f', string.format('%.0f', day))
        redis.pcall('ZADD', KEYS[1] .. 's', '+inf', 'f')
    end
    day = type(day) ~= 'table' and tonumber(day)
    return day and earliest < day and day or nil
end

-- Add to the total of a series what its hash of these hours counts late, if the total has that hash already.
local function add_late(day, name, field, number)
    local of_hash, series = string.match(name, '^h:(%-?%d+):(.*)$')
    if not series or string.byte(series) == 33 or tonumber(of_hash) >= day then return end
    if tonumber(of_hash) > day - 1 and redis.pcall('HEXISTS', KEYS[1] .. 's:' .. name, 'f') ~= 1 then return end
    redis.pcall('ZADD', KEYS[1] .. 's', '+inf', 't:' .. series)
    redis.pcall('HINCRBY', KEYS[1] .. 's:t:' .. series, string.sub(field, 3), string.format('%.0f', number))
end

local MARK = '>HHc0HHc0Hc0'

-- A write that comes alone: its marks are all there are, in their order.
local function tally_one(marks, is_first)
    local text, unpacked, ask, at = ARGV[8], struct.unpack, redis.pcall, 7
    local names, kept, late = {}, {}, day_of_late(text)
    for place = 1, unpacked('>H', text, 5) do names[place], kept[place], at = unpacked('>Hc0Bc0', text, at) end
    for mark = 1, #marks, 2 do
        local place, field, other, hour, group
        place, field, other, hour, group, at = unpacked(MARK, text, at)
        if is_first or string.byte(marks, mark) < 128 then
            if ask('HINCRBY', KEYS[1] .. 's:' .. names[place], field, '1') == 1 then keep(names[place], kept[place]) end
            if ask('HINCRBY', KEYS[1] .. 's:' .. names[other], hour, '1') == 1 then keep(names[other], kept[other]) end
            if late then add_late(late, names[other], hour, 1) end
        end
        if group ~= '' then
            local score, time, example
            score, time, example, at = unpacked('>Bc0c8I4c0', text, at)
            note(group, score, time, example, 1)
        end
    end
end

-- Add to the counters of one hash. It may be new if it had none of them.
local function add_to(name, kept, sums)
    local key, fields, pairs_, is_new = KEYS[1] .. 's:' .. name, {}, {}, true
    for field in pairs(sums) do fields[#fields + 1] = field end
    local before = redis.pcall('HMGET', key, unpack(fields))
    if before.err then return end
    for place, field in ipairs(fields) do
        local number = before[place]
        is_new = is_new and not number
        pairs_[2 * place - 1], pairs_[2 * place] = field, string.format('%.0f', (tonumber(number or 0) or 0) + sums[field])
    end
    redis.pcall('HSET', key, unpack(pairs_))
    if is_new then keep(name, kept) end
end

-- By mark, how many writes count it.
local function tally(sums)
    local text, unpacked, at = ARGV[8], struct.unpack, 7
    local names, kept, adds, mark, late = {}, {}, {}, 0, day_of_late(text)
    for place = 1, unpacked('>H', text, 5) do
        names[place], kept[place], at = unpacked('>Hc0Bc0', text, at)
        adds[place] = {}
    end
    while at <= #text do
        mark = mark + 1
        local sum, place, field, other, hour, group = sums[mark], nil, nil, nil, nil, nil
        place, field, other, hour, group, at = unpacked(MARK, text, at)
        if sum then
            adds[place][field] = (adds[place][field] or 0) + sum
            adds[other][hour] = (adds[other][hour] or 0) + sum
        end
        if group ~= '' then
            local score, time, example
            score, time, example, at = unpacked('>Bc0c8I4c0', text, at)
            if sum then pcall(note, group, score, time, example, sum) end
        end
    end
    for place, of_hash in ipairs(adds) do
        if next(of_hash) then add_to(names[place], kept[place], of_hash) end
    end
    for place, of_hash in ipairs(late and adds or {}) do
        for field, number in pairs(of_hash) do add_late(late, names[place], field, number) end
    end
end
