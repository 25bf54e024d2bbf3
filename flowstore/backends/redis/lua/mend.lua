-- Removes entries of records that the server has removed, when it evicted them or their time with it was over. One
-- step of a walk through the timeline, the expiries and all indexes; how far it has come is in the key `g`, so that
-- whoever purges takes the next step. The key is there while there is something to look for.
--
-- ARGV from 5: how many entries to look at, the pattern of the keys of indexes. Returns 1 at the end of the walk.
if refusal and not was_done then return refusal end
local walk, left = prefix .. 'g', tonumber(ARGV[5])
local again, cursor, after, names = unpack(call('HMGET', walk, 'again', 'cursor', 'after', 'names'))
if cursor then
    names = cmsgpack.unpack(names)
elseif again then
    call('HDEL', walk, 'again')  -- set once more by what is found in the meantime: then another walk follows
    cursor, after, names = '0', '', {prefix .. 't', prefix .. 'x'}
else
    return answer(1)
end

-- Looks at entries of a sorted set, and notes those without a record. True at its end.
local function look(name)
    local id_at, keys = name == prefix .. 't' and 17 or 9, {}
    local low = after == '' and '-' or '(' .. after
    local members = try('ZRANGEBYLEX', name, low, '+', 'LIMIT', '0', tostring(left)) or {}
    for at = 1, #members do keys[at] = prefix .. 'r:' .. sub(members[at], id_at) end
    if #keys > 0 and call('EXISTS', unpack(keys)) < #keys then
        for at = 1, #members do
            if call('EXISTS', keys[at]) == 0 then
                add(removals, name, members[at])
                disown(removals, unlinked, sub(members[at], id_at), '', 3)
            end
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
