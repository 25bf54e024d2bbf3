-- Facets that no record has any more leave the register of all of them.
local function forget_facets(removals)
    local keys = {}
    for key in pairs(removals) do
        if string.find(key, ':.', #prefix + 3, false) then keys[#keys + 1] = key end
    end
    for first = 1, #keys, 4000 do
        local last = math.min(first + 3999, #keys)
        if call('EXISTS', unpack(keys, first, last)) < last - first + 1 then
            for at = first, last do
                local facet = string.match(keys[at], '^i:%l+:(.+)$', #prefix + 1)
                local others = {}
                for status = 0, 5 do others[status + 1] = prefix .. 'i:' .. STATUSES[status] .. ':' .. (facet or '') end
                if facet and call('EXISTS', unpack(others)) == 0 then try('ZREM', prefix .. 'f', facet) end
            end
        end
    end
end

-- What is to be removed, and by id what those are told who wait: 'e', 'd', or nothing where it is false.
local removals, unlinked, gone = {}, {}, {}

-- Entries of a record that cannot be read, or is not there, or another one, since the server has removed it: only
-- the record could tell which others there are. So they are searched for in all indexes, by mend.lua.
local has_ghosts = false
local function mark_ghosts()
    if has_ghosts then ask('HSET', prefix .. 'g', 'again', '1') end
end

-- Note a record for removal: what `standing` says of it, false for what cannot be read, nil for a ghost. True
-- if it is a live one.
local function drop(id, version, _, _, sort, finish, expires, keys, _, _, history, _, extras)
    unlinked[#unlinked + 1] = prefix .. 'r:' .. id
    disown(removals, unlinked, id, history or '', extras or 3)
    if not version then
        has_ghosts = true
        gone[id] = version == false and 'd'
        return version == false
    end
    local member = sort .. id
    for at = 1, #keys do add(removals, keys[at], member) end
    for at = 1, #keys.late do add(removals, keys.late[at], finish .. id) end
    if expires then add(removals, prefix .. 'x', expires .. id) end
    gone[id] = is_expired(expires) and 'e' or 'd'
    return gone[id] == 'd'
end

local function remove_noted()
    for key, list in pairs(removals) do spread(try, 'ZREM', key, list) end
    forget_facets(removals)
    for first = 1, #unlinked, 4000 do call('UNLINK', unpack(unlinked, first, math.min(first + 3999, #unlinked))) end
    local ids, waiters = {}, {}
    for id, change in pairs(gone) do
        if change then ids[#ids + 1], waiters[#waiters + 1] = id, prefix .. 'w:' .. id end
    end
    if #ids == 0 or call('EXISTS', unpack(waiters)) == 0 then return end
    for at, id in ipairs(ids) do
        for _, inbox in ipairs(try('SMEMBERS', waiters[at]) or {}) do note(inbox, gone[id], id, ARGV[3]) end
    end
    call('UNLINK', unpack(waiters))
end

-- Remove at most `limit` expired records; returns how many, and how many entries were looked at. An entry of
-- none is dropped. Runs after every write, so nothing that it meets may make it fail.
local function sweep(limit)
    local due = try('ZRANGEBYLEX', prefix .. 'x', '-', '(' .. ARGV[4], 'LIMIT', '0', limit) or {}
    local count = 0
    local function look(entry, id, version, ...)
        local expires = version and select(5, ...) or ''
        has_ghosts = has_ghosts or not gone[id] and version ~= false and expires .. id ~= entry
        if version and is_expired(select(5, ...)) and not gone[id] then
            drop(id, version, ...)
            count = count + 1
        end
    end
    for at = 1, #due do
        local id = sub(due[at], 9)
        look(due[at], id, standing(id))
    end
    if #due > 0 then
        removals[prefix .. 'x'] = nil
        call('ZREMRANGEBYRANK', prefix .. 'x', '0', tostring(#due - 1))
        mark_ghosts()
        remove_noted()
    end
    return count, #due
end
