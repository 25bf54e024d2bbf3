-- ARGV from 5: the time as it is stored, then for each item: section, owner, key or "" for the next number,
-- "1" to store or "0" to remove, check and value, the version that must stand or "", how many to keep or "",
-- version and time as they are stored, or "" for the next version and the time before.
-- Returns for each 1 applied, 0 not, -1 no owner, or the reason as text; the key; the version that stands.
local is_removal = true
for at = 6, #ARGV, 8 do is_removal = is_removal and ARGV[at + 3] == '0' end
if refusal and not (is_removal and call('PEXPIRE', KEYS[2], ARGV[2])) then return refusal end

-- Puts keys in order that were stored without: only numbered ones, and those that are to be cut, need it.
local function put_in_order(values, order)
    if call('ZCARD', order) == call('HLEN', values) then return end
    for _, key in ipairs(call('HKEYS', values)) do call('ZADD', order, '0', key) end
end

local function put(section, owner, key, is_put, stored, if_version, keep, stamp)
    local values, order = prefix .. 'e:' .. section .. ':' .. owner, prefix .. 'k:' .. section .. ':' .. owner
    local extras, expires
    if owner ~= '' then
        local version, _
        version, _, _, _, _, expires, _, _, _, _, _, extras = standing(owner)
        if version == false then return {'the record of the task is not of this format', key, 0} end
        if not version or is_expired(expires) then return {-1, key, 0} end
        if extras < 2 then  -- an evicted record of the same id may have left some
            local left = {}
            disown({}, left, owner, '', 2)
            call('UNLINK', unpack(left))
        end
    end
    for name, wanted in pairs({[values] = 'hash', [order] = 'zset'}) do
        local kind = call('TYPE', name).ok
        if kind ~= wanted and kind ~= 'none' then
            -- What belongs to a record goes with it. Here no other call would mend it: the order can be made anew, and
            -- what is to replace whatever stands, replaces this as well.
            if owner ~= '' or name == values and if_version ~= '' then
                return {name .. ' is a ' .. kind .. ', expected a ' .. wanted, key, 0}
            end
            call('UNLINK', name)
        end
    end
    local is_ordered = key == '' or keep ~= ''
    if key == '' then
        put_in_order(values, order)
        key = string.format('%016.0f', (tonumber(call('ZRANGE', order, '-1', '-1')[1]) or 0) + 1)
    end
    local is_unread = is_put == '0' and if_version == ''
    local old, version = not is_unread and call('HGET', values, key), 0
    local size = old and #old or is_unread and call('HSTRLEN', values, key) or 0
    if (old or size > 0) and size < 24 then return {'the value is not of this format', key, 0} end
    if old then version = unpacked('>I8', old) end
    if if_version ~= '' and tonumber(if_version) ~= version then return {0, key, version} end
    if is_put == '0' then
        call('ZREM', order, key)
        return {call('HDEL', values, key), key, 0}
    end
    if extras and extras < 2 then call('SETRANGE', prefix .. 'r:' .. owner, '15', string.char(extras + 2)) end
    version = version + 1
    if stamp == '' then stamp = struct.pack('>I8', version) .. ARGV[5] else version = unpacked('>I8', stamp) end
    call('HSET', values, key, stamp .. stored)
    if is_ordered then call('ZADD', order, '0', key) end
    if keep ~= '' then
        put_in_order(values, order)
        for _, dropped in ipairs(call('ZRANGE', order, '0', tostring(-1 - tonumber(keep)))) do
            call('HDEL', values, dropped)
            call('ZREM', order, dropped)
        end
    end
    local left = expires and call('PTTL', prefix .. 'r:' .. owner) or 0
    if left > 0 then  -- as long as the record
        for _, name in ipairs({values, order}) do call('PEXPIRE', name, string.format('%.0f', left)) end
    end
    return {1, key, version}
end

local outcomes = {}
for at = 6, #ARGV, 8 do outcomes[#outcomes + 1] = put(unpack(ARGV, at, at + 7)) end
return answer(outcomes)
