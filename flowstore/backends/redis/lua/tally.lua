-- ARGV[8]: what the writes of a call count, "" for nothing. A counter is a field of a hash, and a hash has those of one
-- series in some periods. First how many hashes there are, then of each its name and for how many milliseconds it is
-- kept; then how many counters, and of each the number of its hash and its field; then kinds: to how many counters the
-- first write of a record adds one, and to how many of these any other one that counts, then the numbers of the counters,
-- those of both first; and a group, "" for none, with its time as text and as it is stored, and an example.
--
-- What goes wrong here must not fail a write that is done: `pcall`, and on.
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
    if not known and redis.pcall('ZCARD', order) > 2000 then
        local oldest = redis.pcall('ZRANGE', order, '0', '0')[1]
        redis.pcall('HDEL', groups, oldest)
        redis.pcall('ZREM', order, oldest)
    end
end

-- By kind, how many writes were the first of their record, and how many others were counted.
local function tally(firsts, others)
    local text, unpacked, at, number = ARGV[8], struct.unpack, 3, nil
    local keys, kept, key_of, fields, sums = {}, {}, {}, {}, {}
    for place = 1, unpacked('>H', text) do keys[place], kept[place], at = unpacked('>Hc0Bc0', text, at) end
    number, at = unpacked('>H', text, at)
    for place = 1, number do key_of[place], fields[place], at = unpacked('>HHc0', text, at) end
    local kind = 0
    while at <= #text do
        kind = kind + 1
        local first, other = firsts[kind] or 0, others[kind] or 0
        local all, own, group, score, time, example
        all, own, at = unpacked('>HH', text, at)
        if first + other > 0 then
            for place = 1, all do
                local cell = unpacked('>H', text, at + 2 * place - 2)
                sums[cell] = (sums[cell] or 0) + first + (place <= own and other or 0)
            end
        end
        group, score, time, example, at = unpacked('>Hc0Bc0c8I4c0', text, at + 2 * all)
        if group ~= '' and first + other > 0 then note(group, score, time, example, first + other) end
    end
    for cell, sum in pairs(sums) do
        local name = keys[key_of[cell]]
        local key = KEYS[1] .. 's:' .. name
        if sum > 0 and redis.pcall('HINCRBY', key, fields[cell], tostring(sum)) == sum then  -- it is new
            redis.pcall('PEXPIRE', key, kept[key_of[cell]])
            redis.pcall('ZADD', KEYS[1] .. 's', string.format('%.0f', ARGV[3] / 1000 + kept[key_of[cell]]), name)
        end
    end
end
