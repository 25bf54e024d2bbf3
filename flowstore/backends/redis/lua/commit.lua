-- ARGV: now, how many expired records to sweep, a line for each write, then id and payload of each, back to
-- back. Returns for each write: -1, applied; the version it lost against, 0 where there is no live record;
-- text, why the standing record can be neither read nor replaced; or "parent: " and the standing parent,
-- empty where the parent that the write names descends from the record.
local APPLIED = -1
-- Bytes of id and payload, the guard ("<=ceiling" or "=version"), time of the transition, how many
-- transitions to keep or "-", header without its version.
local LINE = '^(%d+) (%d+) (<?=)(%d+) (%x+) (%S+) ((%l+) (%d+)) ((%S+) %S+ (%S+) (%x+)) (%[[^\n]*%])\n()'
local now = tonumber(ARGV[1])

-- Nothing is rolled back, so every key that a write needs is checked before its first command that writes.
local checked = {}
local function wrong_kind(key)
    if checked[key] then return nil end
    local kind = redis.call('TYPE', key).ok
    if kind ~= 'zset' and kind ~= 'none' then return key .. ' is a ' .. kind .. ', expected a zset' end
    checked[key] = true
end

local function obstacle(record)
    local reason = record.expires ~= '-' and wrong_kind(expiry_key)
    if reason then return reason end
    if checked[record.listings] then return nil end
    for _, key in ipairs(record.listings) do
        reason = wrong_kind(key)
        if reason then return reason end
    end
    checked[record.listings] = true
end

local function is_allowed(write, record, version)
    if write.needs == '=' then return version == write.bound end
    return not record or record.stage <= write.bound
end

local function has_children(id)
    local keys = {}
    for number, status in ipairs(STATUSES) do keys[number] = index_key(status, 'parent:' .. id) end
    return redis.call('EXISTS', unpack(keys)) > 0
end

local function is_ancestor(id, task)
    local seen = {}
    while task and task ~= id and not seen[task] do
        seen[task] = true
        local above = standing(task)
        task = above and above ~= CORRUPT and above.listings.parent
    end
    return task == id
end

-- The refusal of a write that cannot have the parent it names, else nil. Sets `has_descendants`.
local function refused(write, record)
    local id, parent = write.id, write.listings.parent
    if not parent or record and record.listings.parent == parent then return nil end
    if record and record.listings.parent then
        return 'parent: ' .. record.listings.parent
    end
    write.has_descendants = has_children(id)
    if parent == id or write.has_descendants and is_ancestor(id, parent) then
        return 'parent: '
    end
end

-- The roots of parents that were looked up. An entry is valid until its parent is written.
local roots = {}
local function root_of(parent)
    if not roots[parent] then
        local above = standing(parent)
        roots[parent] = above and above ~= CORRUPT and above.listings.root or parent
    end
    return roots[parent]
end

-- The root of the write under this parent: the parent's root, or the parent itself if that root descends from
-- the write. That can happen when what was between them has been deleted, and would close a circle.
local function root_above(write, parent)
    local root = root_of(parent)
    local is_below = root == write.id or write.has_descendants and is_ancestor(write.id, root)
    return is_below and parent or root
end

-- The same facets, for a record with this parent and root.
local function related(facets, parent, root)
    local names = {}
    for _, name in ipairs(facets) do
        local kind = string.match(name, '^%l+')
        if kind == 'run' then
            names[#names + 1] = 'step' .. string.sub(name, 4)
        elseif kind ~= 'parent' and kind ~= 'root' then
            names[#names + 1] = name
        end
    end
    names[#names + 1] = 'parent:' .. parent
    names[#names + 1] = 'root:' .. root
    return cjson.encode(names)
end

-- The facets of a write that names its parent, with the root added. Pasted as text: to decode and encode them
-- again would cost more than all the rest of the write.
local rooted = {}
local function with_root(facets, root)
    local known = rooted[root]
    if not known then
        known = ', ' .. cjson.encode('root:' .. root) .. ']'
        rooted[root] = known
    end
    return string.sub(facets, 1, -2) .. known
end

-- A write that names no parent keeps that of the record. One that does takes its root from it.
local function join_family(write, record)
    local parent, standing_parent = write.listings.parent, record and record.listings.parent
    if not parent and not standing_parent then return end
    write.root = standing_parent and record.listings.root or root_above(write, parent)
    if parent then
        write.facets = with_root(write.facets, write.root)
    else
        write.facets = related(write.listings.facets, standing_parent, write.root)
    end
    write.listings = listings_of(write.status, write.facets)
end

local function move_to_root(id, root)
    local value = redis.call('GET', record_key(id))
    local record = parse(value)
    if record == CORRUPT then return end
    local facets = related(record.listings.facets, record.listings.parent, root)
    local stop = string.find(value, '\n', 1, true)
    local before = string.match(string.sub(value, 1, stop - 1), '^(%S+ %S+ %S+ %S+ %S+ %S+ %S+ %S+ )')
    unindex(id, record)
    record.listings = listings_of(record.status, facets)
    index(id, record)
    redis.call('SET', record_key(id), before .. facets .. string.sub(value, stop))
end

local function move_descendants(id, root)
    local found, at = {id}, 1
    while found[at] do
        for _, status in ipairs(STATUSES) do
            for _, member in ipairs(try('ZRANGE', index_key(status, 'parent:' .. found[at]), 0, -1) or {}) do
                local child = string.sub(member, 17)
                if redis.call('EXISTS', record_key(child)) == 1 then
                    move_to_root(child, root)
                    found[#found + 1] = child
                end
            end
        end
        at = at + 1
    end
end

local function unloggable(write)
    if write.history == '0' then return nil end
    local key = history_key(write.id)
    return wrong_kind(log_key) or not try('LLEN', key) and key .. ' is not a list' or nil
end

local function log(write, version)
    if write.history == '0' then return end
    local worker, key = write.listings.worker or '', history_key(write.id)
    local seq = string.format('%016x', version)
    local entry = table.concat({write.at .. seq, write.status, write.stage, #worker, worker .. write.id}, ' ')
    local length = redis.call('RPUSH', key, entry)
    redis.call('ZADD', log_key, 0, entry)
    while write.history ~= '-' and length > tonumber(write.history) do
        redis.call('ZREM', log_key, redis.call('LPOP', key))
        length = length - 1
    end
end

-- Decide, check, then write; `old` is what is stored, `record` the same unless it has expired.
local function apply(write)
    local id, old = write.id, standing(write.id)
    if old == CORRUPT then return 'the standing record is not of this format' end
    -- Applied before, in a trip that then failed: its guard would now refuse it.
    if old and old.token == write.token then return APPLIED end
    local record = old
    if old and is_expired(old, now) then record = nil end
    local version = record and record.version or 0
    if not is_allowed(write, record, version) then return version end
    local reason = refused(write, record)
    if reason then return reason end
    join_family(write, record)
    reason = obstacle(write) or old and obstacle(old) or unloggable(write)
    if reason then return reason end
    -- From here on everything writes, and nothing may fail.
    if old and not record then remove_belongings(id) end
    local inboxes = inboxes_of(id)
    if old then unindex(id, old) end
    -- Before the record: if an ACL forbids one of the two, an entry without a record is dropped by the next
    -- listing, but a record without entries would never be listed.
    index(id, write)
    local name = old and old.listings.run
    if name and name ~= write.listings.run then forget_unused(name) end
    log(write, version + 1)
    local header = '2 ' .. write.state .. string.format(' %.0f ', version + 1) .. write.rest .. ' '
    redis.call('SET', record_key(id), header .. write.facets .. '\n' .. write.payload)
    roots[id] = nil
    if write.has_descendants then
        move_descendants(id, write.root)
        roots = {}  -- any of them may be among the descendants that moved
    end
    notify(id, inboxes, write.status)
    return APPLIED
end

local at = 1
local function cut(length)
    at = at + length
    return string.sub(ARGV[4], at - length, at - 1)
end

local function commit_all()
    local outcomes, line_at, has_lost = {}, 1, false
    while line_at <= #ARGV[3] do
        local id_length, length, needs, bound, at_, history, state, status, stage, rest, expires, token, sort,
            facets, behind = string.match(ARGV[3], LINE, line_at)
        line_at = behind
        local outcome = apply({
            id = cut(id_length), payload = cut(length), needs = needs, bound = tonumber(bound), at = at_,
            history = history, state = state, status = status, stage = stage, rest = rest, expires = expires,
            token = token, sort = sort, facets = facets, listings = listings_of(status, facets)})
        outcomes[#outcomes + 1] = outcome
        has_lost = has_lost or outcome ~= APPLIED
    end
    sweep(ARGV[2], ARGV[1])
    publish()
    return has_lost and answer(outcomes) or outcomes
end

local function all_applied()
    local outcomes = {}
    for _ in string.gmatch(ARGV[3], '\n') do outcomes[#outcomes + 1] = APPLIED end
    return outcomes
end

-- `begin` is the first write, so a full server refuses the batch as a whole. Expired records are swept all
-- the same, or they would keep the server full for ever.
local was_done, answered, refusal = begin()
if was_done then return answered or all_applied() end
if refusal then
    sweep(ARGV[2], ARGV[1])
    publish()
    return refusal
end
local is_whole, outcomes = pcall(commit_all)
if not is_whole then
    -- With a number but no answer, the line would mean "all applied" if the driver sends this again.
    redis.pcall('DEL', line)
    error(outcomes)
end
return outcomes
