-- What is decided and not written yet. Nothing is rolled back, so everything is decided before the first
-- write, and every key that a write needs is checked.
local function new_plan()
    return {adds = {}, timeline = {}, first = {}, removals = {}, unlinked = {}, commands = {}, records = {},
            expiring = {}, long = {}, beside = {}, has = {}}
end

-- Index entries before records: where a right is missing, an entry without a record is dropped by the next
-- listing, but a record without entries would never be listed.
local function flush(plan)
    for key, list in pairs(plan.first) do spread(try, 'ZREM', key, list) end
    for key, list in pairs(plan.adds) do spread(call, 'ZADD', key, list) end
    spread(call, 'ZADD', prefix .. 't', plan.timeline)
    for key, list in pairs(plan.removals) do spread(try, 'ZREM', key, list) end
    if #plan.unlinked > 0 then call('UNLINK', unpack(plan.unlinked)) end
    for _, command in ipairs(plan.commands) do call(unpack(command)) end
    if #plan.records > 0 then call('MSET', unpack(plan.records)) end
    local expiring = plan.expiring
    for at = 1, #expiring, 3 do call('SET', expiring[at], expiring[at + 1], 'PX', expiring[at + 2]) end
    for _, long in ipairs(plan.long) do  -- SETRANGE of a new key leaves no room unused, unlike APPEND
        call('UNLINK', long[1])
        call('SETRANGE', long[1], tostring(#long[2]), long[3])
        call('SETRANGE', long[1], '0', long[2])
        if long[4] ~= '' then call('PEXPIRE', long[1], long[4]) end
    end
    for _, record in ipairs(plan.beside) do keep_beside(unpack(record)) end
    return new_plan()
end

-- Why a key that has to be a sorted set is none, else nil; and whether it is there.
local function wrong_kind(key)
    local size = try('ZCARD', key)
    if size then return nil, size > 0 end
    return key .. ' is a ' .. call('TYPE', key).ok .. ', expected a zset'
end

-- The keys that list the records of a kind: why one cannot be used or false, and the facets that are not in
-- the register of all of them: those without an index.
local function examine(kind)
    local fixed, unknown = listing(kind.status, kind.fixed), {}
    local is_fixed, start = {}, #kind.keys[1] + 1
    for _, keys in ipairs({fixed, fixed.late}) do
        for _, key in ipairs(keys) do is_fixed[key] = true end
    end
    for _, keys in ipairs({kind.keys, kind.keys.late}) do
        for _, key in ipairs(keys) do
            local reason, is_there = wrong_kind(key)
            if reason then return reason, unknown end
            if not is_there and not is_fixed[key] then
                unknown[#unknown + 1], unknown[#unknown + 2] = '0', sub(key, start)
            end
        end
    end
    return #unknown > 0 and wrong_kind(prefix .. 'f') or false, unknown
end

-- The transitions of a record that are to be kept: those in the record, how many, and what is
-- beside it as in `standing`. nil and the reason where that is none.
local function cut(plan, id, history, count, extras, keep)
    local key, commands = prefix .. 'h:' .. id, plan.commands
    local is_spilled = extras % 2 == 1
    local older = is_spilled and try('LLEN', key) or not is_spilled and 0
    if not older then return nil, key .. ' is not a list' end
    if not is_spilled then commands[#commands + 1] = {'UNLINK', key} end
    local excess = math.min(older, older + count - keep)
    if excess > 0 then
        for _, item in ipairs(call('LRANGE', key, '0', tostring(excess - 1))) do
            add(plan.removals, prefix .. 't', sub(item, 1, 16) .. id)
        end
        commands[#commands + 1] = {'LTRIM', key, tostring(excess), '-1'}
        older = older - excess
    end
    local at, is_full = 1, count > 32 or #history > 1024
    local spill = {'RPUSH', key}
    while count > 0 and (older + count > keep or is_full and count > 1 and (count > 16 or #history - at > 512)) do
        local stop = at + 27 + unpacked('>I4', history, at + 24)
        if older + #spill - 2 + count > keep then
            add(plan.removals, prefix .. 't', sub(history, at, at + 15) .. id)
        else
            spill[#spill + 1] = sub(history, at, stop)
        end
        at, count = stop + 1, count - 1
    end
    if #spill > 2 then commands[#commands + 1] = spill end
    return sub(history, at), count, extras - extras % 2 + ((older > 0 or #spill > 2) and 1 or 0)
end

local function has_check(key, check)
    return call('GETRANGE', key, '92', '99') == check
end

local function body_of(key)
    local top = call('GETRANGE', key, '0', '67')
    local history, token, fixed, facets, progress, head = unpacked('>I4', top, 12), unpacked('>HI4I4I4I4', top, 51)
    return call('GETRANGE', key, string.format('%.0f', 100 + history + token + fixed + facets + progress + head), '-1')
end

-- The answer to the writes of a kind whose owner is not as it has to be, else nil. `owners`: by id, false if it was
-- not read yet, else its version, 0 if it is not live or cannot be read, its stage and status.
local function ownerless(kind, owners)
    local owner, found = kind.owner, owners[kind.owner.id]
    if not found then
        local version, stage, status, _, _, expires = standing(owner.id)
        found = {version = version and not is_expired(expires) and version or 0, stage = stage, status = status}
        owners[owner.id] = found
    end
    local is_met = found.version > 0 and found.stage >= owner.lowest and found.stage <= owner.highest
    if not is_met or owner.open == 1 and found.status > 2 then return {found.version} end
    kind.met = found
    return nil
end

local function work(outcomes)
    local kinds, at, text, owners = {}, 1, ARGV[6], nil
    while at <= #text do
        local kind, fixed, facets = {}, nil, nil
        kind.guarded, kind.bound, kind.keep, kind.status, kind.does, kind.kept, fixed, facets, at = unpacked(KIND, text, at)
        kind.keys, kind.fixed, kind.size = listing(kind.status, facets), sub(facets, 1, fixed), #facets
        kind.is_logged, kind.is_expiring = kind.does % 2 == 1, kind.does % 4 > 1
        if kind.does > 3 then
            local owner = {}
            owner.lowest, owner.highest, owner.open, owner.id, at = unpacked(OWNER, text, at)
            kind.owner, owners = owner, owners or {}
            owners[owner.id] = false
        end
        kinds[#kinds + 1] = kind
    end
    local marks, sums = {}, {}
    local kind_of, ids, members, entries, keys, waiters, count = {}, {}, {}, {}, {}, {prefix .. 'w:'}, 0
    local record_prefix, waiters_prefix, number = prefix .. 'r:', prefix .. 'w:', nil
    at, text = 1, ARGV[7]
    while at <= #text do
        count = count + 1
        number, ids[count], members[count], entries[count], marks[count], at = unpacked(WRITE, text, at)
        kind_of[count] = kinds[number]
        keys[count], waiters[count + 1] = record_prefix .. ids[count], waiters_prefix .. ids[count]
    end
    local nothing_stands = call('EXISTS', unpack(keys)) == 0
    local is_awaited = call('EXISTS', unpack(waiters)) > 0
    local tails = is_awaited and try('SMEMBERS', waiters[1]) or {}

    local plan, seen, eights, tops, bad_expiry, bad_timeline = new_plan(), {}, {}, {}, nil, nil
    for place = 1, count do
        local id, kind, value, entry, outcome = ids[place], kind_of[place], ARGV[place + 8], entries[place], nil
        if plan.has[id] then plan = flush(plan) end
        local old, stage, status, sort, finish, expires, listed, token, fixed, history, length, extras
        local version, is_live, own_finish, own_expires, front, payload = 0, false, nil, nil, nil, nil
        if not nothing_stands or seen[id] then
            old, stage, status, sort, finish, expires, listed, token, fixed, history, length, extras = standing(id)
        end
        if old then
            if token == token_of(value) then
                outcome = -1
            elseif not is_expired(expires) then
                is_live, version = true, old
            end
        end
        if not outcome and kind.owner and kind.met ~= owners[kind.owner.id] then
            outcome = ownerless(kind, owners)
        end
        if not outcome and old == false then outcome = 'the standing record is not of this format' end
        if not outcome then
            if kind.guarded > 0 then
                if version ~= kind.bound or kind.guarded == 2 and not has_check(keys[place], sub(value, -8)) then
                    outcome = version
                end
            elseif is_live and stage > kind.bound then
                outcome = version
            end
            if not outcome and is_live and fixed ~= '' and fixed ~= kind.fixed then outcome = {fixed, version} end
        end
        if not outcome then
            if kind.reason == nil then kind.reason, kind.unknown = examine(kind) end
            if kind.is_expiring and bad_expiry == nil then bad_expiry = wrong_kind(prefix .. 'x') or false end
            if kind.is_logged and bad_timeline == nil then bad_timeline = wrong_kind(prefix .. 't') or false end
            outcome = kind.reason or kind.is_expiring and bad_expiry or kind.is_logged and bad_timeline or nil
        end
        if not outcome and (old or kind.is_expiring or #kind.keys.late > 0) then
            own_finish, own_expires = unpacked('>c8c8', value, 35)
        end
        if not outcome and is_live then
            local item_at, size = 101 + unpacked('>H', value, 51) + kind.size, unpacked('>I4', value, 12)
            version = version + 1
            if kind.is_logged then
                local time, eight = sub(value, item_at, item_at + 7), eights[version]
                if not eight then
                    eight = struct.pack('>I8', version)
                    eights[version] = eight
                end
                entry, length = time .. eight .. id, length + 1
                history = history .. time .. eight .. sub(value, item_at + 16, item_at + size - 1)
                if length > 32 or #history > 1024 or length > kind.keep or extras % 2 == 1 and kind.keep < MOST then
                    history, length, extras = cut(plan, id, history, length, extras, kind.keep)
                    if not history then outcome = length end
                end
            end
            if not outcome then
                local form = (version * 64 + length) * 16384 + #history * 4 + extras
                local top = tops[form]
                if not top then
                    top = struct.pack('>BI8HI4B', 51, version, length, #history, extras)
                    if version < 2^20 and #history < 4096 then tops[form] = top end
                end
                front, payload = top .. sub(value, 17, item_at - 1) .. history, sub(value, item_at + size)
                if kind.guarded == 2 then payload = sub(payload, 1, -9) .. body_of(keys[place]) end
            end
        end
        if not outcome then
            outcome = -1
            local adds, removals, member = plan.adds, plan.removals, members[place]
            local own, late, stays = kind.keys, own_finish and own_finish .. id, nil
            if old and status == kind.status then stays = {} end
            for at = 1, #own do
                local key = own[at]
                local list = adds[key]
                if not list then
                    list = {}
                    adds[key] = list
                end
                local size = #list
                list[size + 1], list[size + 2] = '0', member
                if stays then stays[key] = member end
            end
            for at = 1, #own.late do
                add(adds, own.late[at], '0')
                add(adds, own.late[at], late)
                if stays then stays[own.late[at]] = late end
            end
            for at = 1, #kind.unknown do add(adds, prefix .. 'f', kind.unknown[at]) end
            kind.unknown = {}
            if kind.is_expiring then
                add(adds, prefix .. 'x', '0')
                add(adds, prefix .. 'x', own_expires .. id)
            end
            if kind.is_logged then
                local list = plan.timeline
                local size = #list
                list[size + 1], list[size + 2] = '0', entry
            end
            if old then
                if not is_live then disown(plan.first, plan.unlinked, id, history, extras) end
                local former = sort .. id
                for at = 1, #listed do
                    local key = listed[at]
                    if not (stays and stays[key] == former) then add(removals, key, former) end
                end
                former = finish .. id
                for at = 1, #listed.late do
                    local key = listed.late[at]
                    if not (stays and stays[key] == former) then add(removals, key, former) end
                end
                if expires and expires ~= own_expires then add(removals, prefix .. 'x', expires .. id) end
            end
            local records = plan.records
            local size = #records
            if front and #payload >= LONG then
                plan.long[#plan.long + 1] = {keys[place], front, payload, kind.kept}
            elseif kind.is_expiring then
                local expiring = plan.expiring
                local size = #expiring
                expiring[size + 1], expiring[size + 2] = keys[place], front and front .. payload or value
                expiring[size + 3] = kind.kept
            else
                records[size + 1], records[size + 2] = keys[place], front and front .. payload or value
            end
            if is_live and extras > 0 and (kind.is_expiring or expires) then
                plan.beside[#plan.beside + 1] = {id, extras, kind.kept}
            end
            plan.has[id], seen[id] = true, true
            if marks[place] ~= '' then
                local is_changed = not is_live or status ~= kind.status or stage ~= unpacked('>I8', value, 19)
                if is_changed then count_marks(sums, marks[place], not is_live) end
            end
            if owners and owners[id] ~= nil then
                local by_now = is_expired(own_expires) and 0 or is_live and version or 1
                owners[id] = {version = by_now, stage = unpacked('>I8', value, 19), status = kind.status}
            end
            if is_awaited then
                local status, heard, inboxes = STATUSES[kind.status], {}, try('SMEMBERS', waiters[place + 1])
                for _, inbox in ipairs(inboxes or {}) do
                    note(inbox, status, id)
                    heard[inbox] = true
                end
                for _, inbox in ipairs(tails) do
                    if not heard[inbox] then note(inbox, status, id) end
                end
                if kind.status > 2 then plan.unlinked[#plan.unlinked + 1] = waiters[place + 1] end
            end
        end
        outcomes[place] = outcome
    end
    flush(plan)
    if next(sums) then pcall(tally, sums) end
end

if refusal then  -- what has expired is removed all the same, or it would fill the server for ever
    sweep(ARGV[5])
    publish()
    return refusal
end
local is_whole, reason = pcall(function()
    if not outcomes then
        outcomes = {}
        work(outcomes)
    end
    sweep(ARGV[5])
    publish()
end)
if not is_whole then
    redis.pcall('DEL', KEYS[2])
    error(reason)
end
for _, outcome in ipairs(outcomes) do
    if outcome ~= -1 then return answer(outcomes) end
end
return outcomes
