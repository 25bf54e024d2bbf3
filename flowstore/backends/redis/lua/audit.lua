-- Compares records with what lists them, and entries with their records. ARGV: the ids whose flaws are to be mended, as
-- a msgpack map, then "records" and ids; "entries", a key, bounds of a range in it, how many at most, prefix of ids; or
-- "beside" and keys of what belongs to records. Nothing is written but what is mended, so it does not matter if the call is
-- carried out twice. Returns what "records" met, or of "entries" how many and the last one; and the flaws, each of
-- kind, id, key, 1 if it is mended.
local may, what = cmsgpack.unpack(ARGV[1]), ARGV[2]
local met, flaws = {}, {}

local function flaw(kind, id, key, ...)
    local is_mended = 0
    if may[id] and select('#', ...) > 0 then
        call(...)
        is_mended = 1
    end
    flaws[#flaws + 1] = {kind, id, key, is_mended}
end

local function is_in(key, member)
    local score = try('ZSCORE', key, member)
    return score and score ~= ''
end

local function expect(id, key, member)
    if is_in(key, member) then return end
    local kind = call('TYPE', key).ok
    if kind == 'zset' or kind == 'none' then
        flaw('unlisted', id, key, 'ZADD', key, '0', member)
    else
        flaw('unlisted', id, key)
    end
end

local function timed(id, log)
    local at = 1
    while at + 27 <= #log do
        expect(id, prefix .. 't', sub(log, at, at + 15) .. id)
        at = at + 28 + unpacked('>I4', log, at + 24)
    end
end

local function record(id, version, _, status, sort, finish, expires, keys, _, fixed, history, count, extras)
    if version == nil then return end
    if version == false then  -- whoever reads it says what is wrong, but for what is no string
        local key = prefix .. 'r:' .. id
        if call('TYPE', key).ok == 'string' then met[#met + 1] = {id, 3} else flaw('damaged', id, key) end
        return
    end
    met[#met + 1] = {id, extras + (count > 0 and 4 or 0)}
    local is_fixed, of_fixed = {}, listing(status, fixed)
    for _, list in ipairs({of_fixed or {}, of_fixed and of_fixed.late or {}}) do
        for at = 1, #list do is_fixed[list[at]] = true end
    end
    local start = #keys[1] + 1
    for by, list in ipairs({keys, keys.late}) do
        for at = 1, #list do
            expect(id, list[at], (by == 1 and sort or finish) .. id)
            if #list[at] >= start and not is_fixed[list[at]] then expect(id, prefix .. 'f', sub(list[at], start)) end
        end
    end
    if expires then expect(id, prefix .. 'x', expires .. id) end
    timed(id, history)
    if extras % 2 == 1 then
        local older = try('LRANGE', prefix .. 'h:' .. id, '0', '-1') or {}
        for _, item in ipairs(older) do timed(id, item) end
        if #older == 0 then flaw('missing', id, prefix .. 'h:' .. id) end
    end
end

local function has_moment(id, moment, history, extras)
    local at = 1
    while at + 27 <= #history do
        if sub(history, at, at + 15) == moment then return true end
        at = at + 28 + unpacked('>I4', history, at + 24)
    end
    local log = prefix .. 'h:' .. id
    local low, high = 0, extras % 2 == 1 and try('LLEN', log) or 0
    while low < high do  -- versions rise in the list
        local place = math.floor((low + high) / 2)
        local item = call('LINDEX', log, tostring(place))
        if sub(item, 1, 16) == moment then return true end
        if unpacked('>I8', item, 9) < unpacked('>I8', moment, 9) then low = place + 1 else high = place end
    end
    return false
end

local function has(key, member, id, sort, finish, expires, keys, history, extras)
    if key == prefix .. 't' then return has_moment(id, sub(member, 1, 16), history, extras) end
    if key == prefix .. 'x' then return expires and expires .. id == member end
    for at = 1, #keys do
        if keys[at] == key then return sort .. id == member end
    end
    for at = 1, #keys.late do
        if keys.late[at] == key then return finish .. id == member end
    end
    return false
end

local function entry(key, member, id, version, _, _, sort, finish, expires, keys, _, _, history, _, extras)
    if version == false then return end  -- only the index tells
    if version == nil then
        flaw('dangling', id, key, 'ZREM', key, member)
    elseif not has(key, member, id, sort, finish, expires, keys, history, extras) then
        flaw('misplaced', id, key, 'ZREM', key, member)
    end
end

local function beside(key)
    local kind, rest = string.match(sub(key, #prefix + 1), '^([hek]):(.*)$')
    if kind == 'h' then rest = 'history:' .. rest end
    local section, id = string.match(rest or '', '^(%l+):(.*)$')
    if section ~= 'history' and section ~= 'data' and section ~= 'checkpoint' or id == '' then return end
    local version, _, _, _, _, _, _, _, _, _, _, extras = standing(id)
    if version == false or call('EXISTS', key) == 0 then return end
    local is_owned = version and (kind == 'h' and extras % 2 == 1 or kind ~= 'h' and extras > 1)
    if not is_owned then flaw('orphaned', id, key, 'UNLINK', key) end
end

if what == 'entries' then
    local key, wanted = ARGV[3], ARGV[7]
    local members = try('ZRANGEBYLEX', key, ARGV[4], ARGV[5], 'LIMIT', '0', ARGV[6])
    if not members then
        flaw('damaged', '', key)
        members = {}
    end
    local id_at = key == prefix .. 't' and 17 or 9
    for at = 1, #members do
        local id = sub(members[at], id_at)
        if sub(id, 1, #wanted) == wanted then entry(key, members[at], id, standing(id)) end
    end
    return {{#members, members[#members] or ''}, flaws}
end
for at = 3, #ARGV do
    if what == 'records' then record(ARGV[at], standing(ARGV[at])) else beside(ARGV[at]) end
end
return {met, flaws}
