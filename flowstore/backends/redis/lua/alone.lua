-- Stores writes. ARGV from 5: how many expired records to remove along the way, the kinds of the writes, the
-- writes, what they count, and the record of each as it is if nothing stands. A kind is what writes of a call share: 1 where a
-- version must stand, 2 where its body stays as well and the record ends with the check that must stand, else 0,
-- and that version or the ceiling; how many transitions to keep; the status; the sum of 1 if they log a
-- transition, 2 if they expire, 4 if they need an owner; for how many milliseconds the server keeps them if they
-- expire, as text; bytes of the fixed facets; all facets; and of an owner its lowest and highest stage, 1 if it
-- must be open, and its id. A write: the number of its kind, id, entry of the indexes, entry of the
-- timeline, the numbers of its marks (tally.lua).
--
-- Returns for each: -1, applied; the version that stands in its way, 0 where there is none; a list of the
-- fixed facets that do and that version; a list of the version of an owner that is not as it has to be, 0 where
-- there is none; text, why what stands can be neither read nor replaced.
--
-- Redis hashes every byte of every string that Lua makes, so records are arguments, and long payloads are
-- never put together with anything. It prints and parses numbers that commands get, so they are texts. And
-- closures cost more the more they capture: a write that comes alone needs only this one. It answers nil, and
-- has written nothing, where anything is unusual.
local KIND, WRITE, LONG = '>BI8I8BBBc0I4I4c0', '>HHc0Hc0Hc0Hc0', 2000
local HEADER, OWNER = '>BI8HI4BBBI8c8c8c8HI4I4', '>I8I8BHc0'

-- Lets the server keep what belongs to a record beside it, as `extras` says, as long as the record.
local function keep_beside(id, extras, kept)
    local names = extras % 2 == 1 and {'h:'} or {}
    if extras > 1 then
        for _, name in ipairs({'e:data:', 'k:data:', 'e:checkpoint:', 'k:checkpoint:'}) do names[#names + 1] = name end
    end
    for _, name in ipairs(names) do
        local key = KEYS[1] .. name .. id
        if kept == '' then redis.call('PERSIST', key) else redis.call('PEXPIRE', key, kept) end
    end
end

local function alone()
    local call, ask, unpacked, sub = redis.call, redis.pcall, struct.unpack, string.sub
    local prefix, value, never = KEYS[1], ARGV[9], '\255\255\255\255\255\255\255\255'
    local guarded, bound, keep, status, does, kept, fixed, listed, behind = unpacked(KIND, ARGV[6])
    if guarded == 2 then return nil end
    if does > 3 then
        local lowest, highest, open, owner = unpacked(OWNER, ARGV[6], behind)
        local found = ask('GETRANGE', prefix .. 'r:' .. owner, '0', '279')
        if type(found) == 'table' or #found < 100 then return nil end
        local format, version, _, history, _, state, _, stage, _, _, expires, token, own_fixed, facets =
            unpacked(HEADER, found)
        local at, stop = 101 + token, 101 + token + own_fixed + facets
        if format ~= 51 or state > 5 or version >= 2^53 or expires ~= never then return nil end
        if #found < stop + history - 1 then return nil end
        while at + 1 < stop do at = at + 2 + unpacked('>H', found, at) end
        if at ~= stop or stage < lowest or stage > highest or open == 1 and state > 2 then return nil end
        does = does - 4
    end
    local _, id, member, entry, marks = unpacked(WRITE, ARGV[7])
    local key, waiters, tails, expiry = prefix .. 'r:' .. id, prefix .. 'w:' .. id, prefix .. 'w:', prefix .. 'x'
    local names = {[0] = 'pending', 'running', 'retrying', 'success', 'failed', 'cancelled'}
    local index, is_plain = prefix .. 'i:' .. names[status] .. ':', call('EXISTS', key, waiters, tails, expiry) == 0
    local inboxes, found = nil, ''
    if not is_plain then
        if call('EXISTS', waiters, tails) > 0 then
            tails, inboxes = ask('SMEMBERS', tails), ask('SMEMBERS', waiters)
            if tails.err or inboxes.err then return nil end
        end
        found = ask('GETRANGE', key, '0', '279')
    end

    local former, old_status, old_stage, old_listed, old_finish, old_expires, beside, finish, expires
    if found ~= '' then
        if #value > LONG or type(found) == 'table' or #found < 100 then return nil end
        local format, version, count, history_size, extras, flags, stage, sort, token_size, fixed_size, facets_size
        format, version, count, history_size, extras, old_status, flags, stage, sort, old_finish, old_expires,
            token_size, fixed_size, facets_size = unpacked(HEADER, found)
        local listed_at = 101 + token_size
        local history_at = listed_at + fixed_size + facets_size
        local stop = history_at + history_size - 1
        if format == 51 and flags > 127 then  -- there is room for progress behind the token
            if #found < stop then found = call('GETRANGE', key, '0', string.format('%.0f', stop - 1)) end
            token_size = token_size - unpacked('>H', found, 99 + token_size)
        end
        if format ~= 51 or old_status > 5 or stage >= 2^53 or version >= 2^53 or #found < stop then return nil end
        old_listed, former = sub(found, listed_at, history_at - 1), sort .. id
        local at, size = 1, #old_listed
        while at < size do at = at + 2 + unpacked('>H', old_listed, at) end
        if at ~= size + 1 then return nil end
        local item_size = unpacked('>I4', value, 12)
        local own_at = 101 + unpacked('>H', value, 51)
        local item_at = own_at + #listed
        if sub(found, 101, 100 + token_size) == sub(value, 101, own_at - 1) then return {-1} end
        if old_expires ~= never then
            local high, low = unpacked('>I4I4', old_expires)
            local live_high, live_low = unpacked('>I4I4', ARGV[4])
            if high < live_high or high == live_high and low < live_low then return nil end
        end
        old_stage = stage
        if guarded == 0 and stage > bound or guarded == 1 and version ~= bound then return {version} end
        if fixed_size > 0 and (fixed_size ~= fixed or sub(old_listed, 1, fixed) ~= sub(listed, 1, fixed)) then
            return nil
        end
        version, beside = version + 1, extras
        finish, expires = unpacked('>c8c8', value, 35)
        local history = sub(found, history_at, stop)
        if does % 2 == 1 then
            local at, number = sub(value, item_at, item_at + 7), struct.pack('>I8', version)
            count, entry = count + 1, at .. number .. id
            history = history .. at .. number .. sub(value, item_at + 16, item_at + item_size - 1)
            if count > keep or extras % 2 == 1 and keep < 2^53 - 1 or count > 32 or #history > 1024 then return nil end
        end
        value = struct.pack('>BI8HI4B', 51, version, count, #history, extras) .. sub(value, 17, item_at - 1)
            .. history .. sub(value, item_at + item_size)
    elseif guarded == 1 and bound ~= 0 then
        return {0}
    elseif does > 1 then
        expires = sub(value, 43, 50)
    end
    local is_same = old_status == status
    if is_same and (old_listed ~= listed or former ~= member or old_finish ~= finish) then return nil end

    -- Neither Lua nor Redis rolls back. An entry that cannot be added is the first, or those before it are taken
    -- back. An index that is not there yet means a facet that may not be in the register.
    local added, entries, count = {}, {}, 0
    if not is_same then
        local at, size = 1, #listed
        added[1], entries[1], count = index, member, 1
        while at < size do
            local facet, behind = unpacked('>Hc0', listed, at)
            if string.byte(facet) == 126 then return nil end
            count = count + 1
            added[count], entries[count], at = index .. facet, member, behind
        end
        if call('EXISTS', unpack(added)) < count then
            at = fixed + 1
            while at < size do
                local facet, behind = unpacked('>Hc0', listed, at)
                if call('EXISTS', index .. facet) == 0 then
                    count = count + 1
                    added[count], entries[count] = prefix .. 'f', facet
                end
                at = behind
            end
        end
    end
    if does % 2 == 1 then
        count = count + 1
        added[count], entries[count] = prefix .. 't', entry
    end
    if does > 1 then
        count = count + 1
        added[count], entries[count] = expiry, expires .. id
    end
    for place = 1, count do
        local reply = ask('ZADD', added[place], '0', entries[place])
        if type(reply) == 'table' then
            for before = 1, place - 1 do
                if entries[before] then call('ZREM', added[before], entries[before]) end
            end
            return nil
        end
        if reply == 0 then entries[place] = false end  -- it was there
    end
    if former and not is_same then
        local at = 1
        index = prefix .. 'i:' .. names[old_status] .. ':'
        ask('ZREM', index, former)
        while at < #old_listed do
            local facet, behind = unpacked('>Hc0', old_listed, at)
            ask('ZREM', index .. facet, string.byte(facet) == 126 and old_finish .. id or former)
            at = behind
        end
    end
    if former and old_expires ~= never and old_expires ~= expires then ask('ZREM', expiry, old_expires .. id) end
    if does > 1 then call('SET', key, value, 'PX', kept) else call('SET', key, value) end
    if beside and beside > 0 and (does > 1 or old_expires ~= never) then keep_beside(id, beside, kept) end
    if inboxes then
        local message, heard = cjson.encode({{names[status], id}}), {}
        for _, inbox in ipairs(inboxes) do
            call('PUBLISH', inbox, message)
            heard[inbox] = true
        end
        for _, inbox in ipairs(tails) do
            if not heard[inbox] then call('PUBLISH', inbox, message) end
        end
        if #inboxes > 0 and status > 2 then call('UNLINK', waiters) end
    end
    if marks ~= '' and (not is_same or old_stage ~= unpacked('>I8', value, 19)) then
        if not former or #marks > 2 then pcall(tally_one, marks, not former) end
    end
    return {-1}, is_plain
end

-- Remove expired records of few entries, with nothing beside them. Returns true if that was all.
local function sweep_few(due)
    local call, ask, unpacked, sub, prefix = redis.call, redis.pcall, struct.unpack, string.sub, KEYS[1]
    local names = {[0] = 'pending', 'running', 'retrying', 'success', 'failed', 'cancelled'}
    for _, entry in ipairs(due) do
        local id = sub(entry, 9)
        local key = prefix .. 'r:' .. id
        local found = ask('GETRANGE', key, '0', '279')
        if type(found) == 'table' or #found < 100 then return false end
        local format, _, _, history, extras, status, _, _, sort, finish, expires, token, fixed, facets =
            unpacked(HEADER, found)
        local at, history_at = 101 + token, 101 + token + fixed + facets
        if format ~= 51 or extras > 0 or #found < history_at + history - 1 or expires .. id ~= entry then return false end
        local index, member = prefix .. 'i:' .. (names[status] or '') .. ':', sort .. id
        local keys = {index}
        while at + 1 < history_at do
            local facet, behind = unpacked('>Hc0', found, at)
            if string.byte(facet) == 126 then return false end
            keys[#keys + 1], at = index .. facet, behind
        end
        if at ~= history_at or call('EXISTS', prefix .. 'w:' .. id) > 0 then return false end
        for place = 1, #keys do ask('ZREM', keys[place], member) end
        local stop = history_at + history
        while at + 28 <= stop do
            ask('ZREM', prefix .. 't', sub(found, at, at + 15) .. id)
            at = at + 28 + unpacked('>I4', found, at + 24)
        end
        call('UNLINK', key)
        ask('ZREM', prefix .. 'x', entry)
        if call('EXISTS', unpack(keys)) < #keys then
            for place = 2, #keys do
                local facet, others = sub(keys[place], #index + 1), {}
                for other = 0, 5 do others[other + 1] = prefix .. 'i:' .. names[other] .. ':' .. facet end
                if call('EXISTS', unpack(others)) == 0 then ask('ZREM', prefix .. 'f', facet) end
            end
        end
    end
    return true
end

local outcomes
if was_done then
    outcomes = {}
    for place = 9, #ARGV do outcomes[place - 8] = -1 end
    return outcomes
end
if not refusal and #ARGV == 9 then
    local is_whole, is_plain
    is_whole, outcomes, is_plain = pcall(alone)
    if not is_whole then
        redis.pcall('DEL', KEYS[2])  -- with a number but no answer, it would mean "applied" if sent again
        error(outcomes)
    end
    if outcomes then
        if outcomes[1] ~= -1 then
            redis.call('SET', KEYS[2], ARGV[1] .. ' ' .. cmsgpack.pack(outcomes), 'PX', ARGV[2])
        end
        if is_plain then return outcomes end  -- there was nothing that expires
        local due = redis.pcall('ZRANGEBYLEX', KEYS[1] .. 'x', '-', '(' .. ARGV[4], 'LIMIT', '0', ARGV[5])
        if due.err or #due == 0 or sweep_few(due) then return outcomes end
    end
end
