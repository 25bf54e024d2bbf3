-- ARGV from 5, for each report: id, lowest and highest stage, progress, then version and check that must stand for
-- the expiry that follows, as in expire.lua, or "" three times. Returns for each 1 if it was applied.
if refusal then return refusal end
local applied = {}
for at = 5, #ARGV, 7 do
    local id, progress = ARGV[at], ARGV[at + 3]
    local version, stage, status, _, _, expires, _, _, _, history = standing(id)
    local is_open = version and status < 3 and not is_expired(expires)
    local is_applied = is_open and stage >= tonumber(ARGV[at + 1]) and stage <= tonumber(ARGV[at + 2])
    if is_applied then
        local key = prefix .. 'r:' .. id
        local value = call('GET', key)
        local token, fixed, facets, size = unpacked('>HI4I4I4', value, 51)
        local start = 100 + token + fixed + facets + #history
        if size == #progress then
            call('SETRANGE', key, tostring(start), progress)
        else
            call('SET', key, sub(value, 1, 60) .. struct.pack('>I4', #progress) .. sub(value, 65, start) .. progress
                .. sub(value, start + size + 1), 'KEEPTTL')
        end
        if ARGV[at + 4] ~= '' then change_expiry(id, ARGV[at + 4], ARGV[at + 5], ARGV[at + 6]) end
        for _, inbox in ipairs(try('SMEMBERS', prefix .. 'w:' .. id) or {}) do note(inbox, 'p', id) end
    end
    applied[#applied + 1] = is_applied and 1 or 0
end
publish()
return answer(applied)
