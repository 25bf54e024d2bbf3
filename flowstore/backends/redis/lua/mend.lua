-- Removes entries of records that the server has removed, when it evicted them or their time with it was over, also
-- where another record has been stored under the same id since. One step of a walk through the timeline, the
-- expiries and all indexes; how far it has come is in the key `g`, so that whoever purges takes the next step. The
-- key is there while there is something to look for.
--
-- ARGV from 5: how many entries to look at, the pattern of the keys of indexes. Returns 1 at the end of the walk.
if refusal and not was_done then return refusal end
local walk, due, timeline, left = prefix .. 'g', prefix .. 'x', prefix .. 't', tonumber(ARGV[5])
local fields = ask('HMGET', walk, 'again', 'cursor', 'after', 'names')
if fields.err then fields = {false, false, false, false} end  -- no hash: somebody else's
local again, cursor, after = fields[1], fields[2], fields[3]
local is_known, names = pcall(cmsgpack.unpack, fields[4])
if not (cursor and is_known and type(names) == 'table') then
    call('UNLINK', walk)  -- `again` is set once more by what is found in the meantime: then another walk follows
    if not again then return answer(1) end
    cursor, after, names = '0', '', {timeline, due}
end

-- Whether a record has this entry: what `standing` says of it.
local function has(name, member, id, version, _, _, sort, finish, expires, keys, _, _, history, _, extras)
    if not version then return version == false end  -- of one that cannot be read only the index tells
    if name == timeline then return extras % 2 == 1 or string.find(history, sub(member, 1, 16), 1, true) end
    if name == due then return expires and expires .. id == member end
    for at = 1, #keys do
        if keys[at] == name then return sort .. id == member end
    end
    for at = 1, #keys.late do
        if keys.late[at] == name then return finish .. id == member end
    end
    return false
end

-- Looks at entries of a sorted set, and notes those that no record has. True at its end.
local function look(name)
    local id_at, low = name == timeline and 17 or 9, after == '' and '-' or '(' .. after
    local members = try('ZRANGEBYLEX', name, low, '+', 'LIMIT', '0', tostring(left)) or {}
    for at = 1, #members do
        local member = members[at]
        local id = sub(member, id_at)
        if not has(name, member, id, standing(id)) then
            add(removals, name, member)
            if call('EXISTS', prefix .. 'r:' .. id) == 0 then disown(removals, unlinked, id, '', 3) end
        end
    end
    local is_end = #members < left
    after, left = not is_end and members[#members] or '', left - #members
    return is_end
end

while left > 0 and (#names > 0 or cursor ~= 'end') do
    if #names == 0 then
        local found = call('SCAN', cursor, 'MATCH', ARGV[6], 'COUNT', '100')
        cursor, names, left = found[1] == '0' and 'end' or found[1], found[2], left - 20
    elseif look(names[#names]) then
        names[#names] = nil
    end
end
remove_noted()
if #names == 0 and cursor == 'end' then
    call('HDEL', walk, 'cursor', 'after', 'names')
    return answer(1)
end
call('HSET', walk, 'cursor', cursor, 'after', after, 'names', cmsgpack.pack(names))
return answer(0)
