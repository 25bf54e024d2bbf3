-- ARGV from 5, for each report: id, lowest and highest stage, progress, then version and check that must stand for
-- the expiry that follows, as in expire.lua, or "" three times. Returns for each 1 if it was applied.
if refusal then return refusal end
local ROOM = 256

-- The progress in place, where it fits; see format.py. A body must not be read for it.
local function is_entered(key, progress, history)
    local top = call('GETRANGE', key, '0', '99')
    local token, fixed, facets, size = unpacked('>HI4I4I4', top, 51)
    local function write(at, text) call('SETRANGE', key, string.format('%.0f', at), text) end
    if string.byte(top, 18) < 128 then
        if size == #progress then write(100 + token + fixed + facets + #history, progress) end
        return size == #progress
    end
    local room = unpacked('>H', call('GETRANGE', key, tostring(98 + token), tostring(99 + token)))
    if #progress > room - 4 then return false end
    write(100 + token - room, progress)
    write(96 + token, struct.pack('>H', #progress))
    return true
end

-- A long record gets more room than is needed, so that few reports of a task write all of it.
local function rewritten(value, progress, history)
    local token, fixed, facets, size = unpacked('>HI4I4I4', value, 51)
    local own, flags, behind, start = token_of(value), string.byte(value, 18) % 128, 101 + token, nil
    local room = math.max(ROOM, 2 * #progress + 4)
    if #value - token > 2000 and #own + room < 65536 then
        local rest = string.rep('\0', room - 4 - #progress) .. struct.pack('>HH', #progress, room)
        return sub(value, 1, 17) .. string.char(flags + 128) .. sub(value, 19, 50)
            .. struct.pack('>H', #own + room) .. sub(value, 53, 100) .. own .. progress .. rest .. sub(value, behind)
    end
    start = behind + fixed + facets + #history
    return sub(value, 1, 17) .. string.char(flags) .. sub(value, 19, 50) .. struct.pack('>H', #own)
        .. sub(value, 53, 60) .. struct.pack('>I4', #progress) .. sub(value, 65, 100) .. own
        .. sub(value, behind, start - 1) .. progress .. sub(value, start + size)
end

local applied = {}
for at = 5, #ARGV, 7 do
    local id, progress = ARGV[at], ARGV[at + 3]
    local version, stage, status, _, _, expires, _, _, _, history = standing(id)
    local is_open = version and status < 3 and not is_expired(expires)
    local is_applied = is_open and stage >= tonumber(ARGV[at + 1]) and stage <= tonumber(ARGV[at + 2])
    if is_applied then
        local key = prefix .. 'r:' .. id
        if not is_entered(key, progress, history) then
            call('SET', key, rewritten(call('GET', key), progress, history), 'KEEPTTL')
        end
        if ARGV[at + 4] ~= '' then change_expiry(id, ARGV[at + 4], ARGV[at + 5], ARGV[at + 6]) end
        for _, inbox in ipairs(try('SMEMBERS', prefix .. 'w:' .. id) or {}) do note(inbox, 'p', id) end
    end
    applied[#applied + 1] = is_applied and 1 or 0
end
publish()
return answer(applied)
