-- ARGV: now, limit, '1' for newest first, member to begin after or '', '1' for bodies, how many index entries
-- to examine at most, JSON of groups of facets, id of the root or '', then statuses.
-- A record qualifies with one facet of each group; the root itself, which has no facet `root:`, qualifies for
-- that group without. The indexes of the first group are merged, one per facet and status.
-- Returns the member to go on after ('' at the end), then at most `limit` live records in order, each with
-- its member. The budget of entries bounds how long the server is busy, whatever the filters leave over.
local now, limit, budget = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[6])
local is_newest_first, with_body, groups = ARGV[3] == '1', ARGV[5] == '1', cjson.decode(ARGV[7])
local root = ARGV[8]
local leading = table.remove(groups, 1)

-- Not `<`: Lua compares strings by the locale of the server, Redis and flowstore by bytes.
local function is_before(one, other)
    for position = 1, math.min(#one, #other) do
        local a, b = string.byte(one, position), string.byte(other, position)
        if a ~= b then return (a < b) == is_newest_first end
    end
    return #one ~= #other and (#one < #other) == is_newest_first
end

local function refill(range)
    local from, arguments = range.last == '' and (is_newest_first and '-' or '+') or '(' .. range.last, nil
    if is_newest_first then
        arguments = {range.key, from, '+', 'BYLEX', 'LIMIT', 0, range.chunk}
    else
        arguments = {range.key, from, '-', 'BYLEX', 'REV', 'LIMIT', 0, range.chunk}
    end
    range.members, range.at = redis.call('ZRANGE', unpack(arguments)), 1
    range.last = range.members[#range.members] or range.last
    range.is_exhausted = #range.members < range.chunk
end

local function head(range)
    if range.at > #range.members and not range.is_exhausted then refill(range) end
    return range.members[range.at]
end

local function is_within(id, status, facets)
    local listings = #groups > 0 and listings_of(status, facets)
    for _, group in ipairs(groups) do
        local has = id == root and group[1] == 'root:' .. root
        for _, facet in ipairs(group) do has = has or listings and listings.has[facet] end
        if not has then return false end
    end
    return true
end
-- An entry without its record, which was deleted or evicted by someone else. pcall, as this user or server
-- may not be allowed to write, which is no reason to fail a listing.
local function forget(key, member) redis.pcall('ZREM', key, member) end

local function forget_record(key, member, id)
    forget(key, member)
    pcall(remove_belongings, id)
end

-- The record of an index entry; nil if it is missing or has expired. One that cannot be read is returned as
-- it is: it keeps its place in the listing, and the caller reports it there.
local function live(member, range)
    local id = string.sub(member, 17)
    if id == '' then return forget(range.key, member) end
    local value = try('GET', record_key(id))
    if value == nil then return {member, 'not a string'} end
    if not value then return forget_record(range.key, member, id) end
    local stored, expires, sort, facets = string.match(
        value, '^2 (%l+) %d+ %d+ (%S+) %S+ %S+ (%x+) (%[[^\n]*%])\n')
    if stored and (stored ~= range.status or sort .. id ~= member) then return forget(range.key, member) end
    if stored and expires ~= '-' and (tonumber(expires) or now + 1) <= now then return nil end
    if stored and not is_within(id, stored, facets) then return nil end
    return {member, with_body and value or without_body(value)}
end

local ranges = {}
for number = 9, #ARGV do
    for _, facet in ipairs(leading) do
        ranges[#ranges + 1] = {status = ARGV[number], key = index_key(ARGV[number], facet), last = ARGV[4],
                               members = {}, at = 1, is_exhausted = false, chunk = math.min(limit, 500)}
    end
end
if leading[1] == 'root:' .. root then
    local record = standing(root)
    local member = record and record ~= CORRUPT and record.sort .. root
    local is_wanted = member and (ARGV[4] == '' or is_before(ARGV[4], member))
    for number = 9, #ARGV do
        if is_wanted and ARGV[number] == record.status then
            ranges[#ranges + 1] = {status = record.status, key = index_key(record.status, leading[1]),
                                   members = {member}, at = 1, is_exhausted = true}
        end
    end
end
local found, last = {}, ''
for _ = 1, budget do
    if #found == limit then break end
    local first, member = nil, nil
    for _, range in ipairs(ranges) do
        local candidate = head(range)
        if candidate and (not member or is_before(candidate, member)) then
            first, member = range, candidate
        end
    end
    if not first then return {'', found} end
    first.at, last = first.at + 1, member
    local record = live(member, first)
    if record then found[#found + 1] = record end
end
return {last, found}
