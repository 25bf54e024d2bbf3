-- What stands: records, and the indexes that list them. See format.py for the bytes.
local call, ask, unpacked, sub = redis.call, redis.pcall, struct.unpack, string.sub
local prefix, MOST, NEVER = KEYS[1], 2^53 - 1, string.rep('\255', 8)
local STATUSES = {[0] = 'pending', 'running', 'retrying', 'success', 'failed', 'cancelled'}

-- Like redis.call, but nil where the key has the wrong type: a damaged key must not fail others' writes.
local function try(...)
    local reply = redis.pcall(...)
    if type(reply) ~= 'table' or not reply.err then return reply end
    if not string.find(reply.err, 'WRONGTYPE', 1, true) then redis.call(...) end  -- raises it again
    return nil
end

-- The keys of the indexes for a status and its facets as stored; those by finish are in `late`. nil where
-- these are no facets. Most records of a call look alike, so known ones are kept.
local listed = {[0] = {}, {}, {}, {}, {}, {}}
local function listing(status, facets)
    local known = listed[status][facets]
    if known then return known end
    local index, at, size = prefix .. 'i:' .. STATUSES[status] .. ':', 1, #facets
    local keys, late = {index}, {}
    while at <= size do
        local length = at < size and unpacked('>H', facets, at)
        if not length or at + 1 + length > size then return nil end
        local facet = sub(facets, at + 2, at + 1 + length)
        if sub(facet, 1, 1) == '~' then
            late[#late + 1] = index .. facet
        else
            keys[#keys + 1] = index .. facet
        end
        at = at + 2 + length
    end
    keys.late = late
    listed[status][facets] = keys
    return keys
end

-- The token of a record, without the room for progress that may be behind it.
local function token_of(value)
    local size = unpacked('>H', value, 51)
    if string.byte(value, 18) > 127 then size = size - unpacked('>H', value, 99 + size) end
    return sub(value, 101, 100 + size)
end

-- What stands, up to its progress: nil where there is none, false where it cannot be read, else its version,
-- stage, status, sort key, that by finish, expiry or nil, indexes, token, fixed facets, transitions, how many
-- these are, and what is beside it: 1 older transitions, 2 items, 3 both. No table: that would cost as much.
local function standing(id)
    local key = prefix .. 'r:' .. id
    local value = try('GETRANGE', key, '0', '279')
    if value == '' then return nil end
    if not value or #value < 100 then return false end
    local format, version, count, history, extras, status, _, stage, sort, finish, expires, token, fixed, facets =
        unpacked('>BI8HI4BBBI8c8c8c8HI4I4', value)
    local listed_at, stop = 101 + token, 100 + token + fixed + facets + history
    if format ~= 51 or status > 5 or version > MOST or stage > MOST then return false end
    if #value < stop then
        value = value .. call('GETRANGE', key, '280', string.format('%.0f', stop - 1))
        if #value < stop then return false end
    end
    local keys = listing(status, sub(value, listed_at, stop - history))
    if not keys then return false end
    if expires == NEVER then expires = nil end
    return version, stage, status, sort, finish, expires, keys, token_of(value),
        sub(value, listed_at, listed_at + fixed - 1), sub(value, stop - history + 1, stop), count, extras
end

-- Not `<`: Lua compares strings by the locale of the server.
local function is_expired(expires)
    if not expires then return false end
    local high, low = unpacked('>I4I4', expires)
    local live_high, live_low = unpacked('>I4I4', ARGV[4])
    return high < live_high or high == live_high and low < live_low
end

-- `list` as arguments of one command, or of a few: there is a limit to how many Lua can pass.
local function spread(how, command, key, list)
    for first = 1, #list, 4000 do how(command, key, unpack(list, first, math.min(first + 3999, #list))) end
end

local function add(lists, key, value)
    local list = lists[key]
    if list then list[#list + 1] = value else lists[key] = {value} end
end

-- Note for removal every entry of the timeline, and the keys of all that belongs to the record.
local function disown(removals, unlinked, id, history, extras)
    local at = 1
    while at + 27 <= #history do
        add(removals, prefix .. 't', sub(history, at, at + 15) .. id)
        at = at + 28 + unpacked('>I4', history, at + 24)
    end
    if extras % 2 == 1 then
        for _, item in ipairs(try('LRANGE', prefix .. 'h:' .. id, '0', '-1') or {}) do
            add(removals, prefix .. 't', sub(item, 1, 16) .. id)
        end
        unlinked[#unlinked + 1] = prefix .. 'h:' .. id
    end
    if extras > 1 then
        for _, section in ipairs({'data:', 'checkpoint:'}) do
            unlinked[#unlinked + 1] = prefix .. 'e:' .. section .. id
            unlinked[#unlinked + 1] = prefix .. 'k:' .. section .. id
        end
    end
end
