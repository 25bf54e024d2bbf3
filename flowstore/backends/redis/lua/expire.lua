-- ARGV from 5, for each record: id, the version and check that must stand, the expiry and check that follow,
-- for how many milliseconds the server keeps it or "" for ever. Returns for each 1 if it was changed.
if refusal then return refusal end
local changed = {}
for at = 5, #ARGV, 4 do
    local id = ARGV[at]
    local version, _, _, _, _, expires = standing(id)
    local is_live = version and not is_expired(expires)
    local is_changed = is_live and change_expiry(id, ARGV[at + 1], ARGV[at + 2], ARGV[at + 3])
    if is_changed then
        for _, inbox in ipairs(try('SMEMBERS', prefix .. 'w:' .. id) or {}) do note(inbox, 'e', id, ARGV[3]) end
    end
    changed[#changed + 1] = is_changed and 1 or 0
end
publish()
return answer(changed)
