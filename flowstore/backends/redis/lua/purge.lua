-- ARGV from 5: how many records to remove at most, "1" for records of any kind and "" for expired ones, and the time in
-- microseconds before which a group is forgotten that was last seen then; and days for `fold`.
-- Returns how many live and how many expired ones were removed, 1 if there is nothing left to do, and 1 if there may be
-- entries without records.
if refusal and not was_done then return refusal end
local limit, live, expired = tonumber(ARGV[5]), 0, 0
local is_folded = fold(tonumber(ARGV[8]), tonumber(ARGV[9]))

-- Counters that are over, by the clock of the caller; by that of the server they go by themselves. Not before all days
-- that are over are in the totals, which takes several calls where nobody has purged for long.
if is_folded then
    local now = string.format('%.0f', ARGV[3] / 1000)
    local over = try('ZRANGEBYSCORE', prefix .. 's', '-inf', now, 'LIMIT', '0', '1000') or {}
    for _, name in ipairs(over) do call('UNLINK', prefix .. 's:' .. name) end
    spread(try, 'ZREM', prefix .. 's', over)
    try('ZREMRANGEBYSCORE', prefix .. 's:', '-inf', now)
end
if (try('HLEN', prefix .. 'p') or 0) > (try('ZCARD', prefix .. 'p:last') or 0) then  -- evicted, or somebody else's
    if not try('ZCARD', prefix .. 'p:last') then call('UNLINK', prefix .. 'p:last') end
    local groups = call('HGETALL', prefix .. 'p')
    for at = 1, #groups, 2 do
        local high, low = unpacked('>I4I4', groups[at + 1] .. '........', 9)
        call('ZADD', prefix .. 'p:last', string.format('%.0f', (high - 2^31) * 2^32 + low), groups[at])
    end
end
local forgotten = try('ZRANGEBYSCORE', prefix .. 'p:last', '-inf', '(' .. ARGV[7], 'LIMIT', '0', '1000') or {}
spread(try, 'HDEL', prefix .. 'p', forgotten)
spread(try, 'ZREM', prefix .. 'p:last', forgotten)

if ARGV[6] == '' then
    call('ZCARD', prefix .. 'x')  -- raises for a key of the wrong type, where `sweep` would find nothing
    local seen
    expired, seen = sweep(ARGV[5])
    publish()
    return answer({0, expired, seen < limit and is_folded and 1 or 0, call('EXISTS', prefix .. 'g')})
end
local left = limit

local function look(id, version, ...)
    if drop(id, version, ...) then
        live = live + 1
    elseif version then
        expired = expired + 1
    end
end

-- The records of at most `left` entries of this key, with the entries.
local function take(name, id_at)
    if left == 0 then return end
    local key = prefix .. name
    local members = try('ZRANGE', key, '0', tostring(left - 1))
    if not members then return call('UNLINK', key) end
    left = left - #members
    for _, member in ipairs(members) do
        local id = sub(member, id_at)
        add(removals, key, member)
        if id ~= '' and gone[id] == nil then look(id, standing(id)) end
    end
end

for status = 0, 5 do take('i:' .. STATUSES[status] .. ':', 9) end
take('x', 9)
take('t', 17)
remove_noted()
mark_ghosts()
if left > 0 then
    local facets = try('ZRANGE', prefix .. 'f', '0', tostring(left - 1)) or {}
    for _, facet in ipairs(facets) do
        for status = 0, 5 do call('UNLINK', prefix .. 'i:' .. STATUSES[status] .. ':' .. facet) end
    end
    left = left - #facets
    if left > 0 then call('UNLINK', prefix .. 'f') else call('ZREM', prefix .. 'f', unpack(facets)) end
end
publish()
return answer({live, expired, left > 0 and is_folded and 1 or 0, call('EXISTS', prefix .. 'g')})
