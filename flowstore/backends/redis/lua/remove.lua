-- ARGV from 5, for each: id, and the version and check that must stand, or "" to remove whatever does. Returns for
-- each 1 if a live record was removed, else 0.
if refusal and not was_done then return refusal end
local removed = {}

local function look(id, version, ...)
    return version ~= nil and drop(id, version, ...) and 1 or 0
end

local function is_that(id, guard)
    local header = try('GETRANGE', prefix .. 'r:' .. id, '0', '99') or ''
    return sub(header, 2, 9) .. sub(header, 93, 100) == guard and not is_expired(sub(header, 43, 50))
end

for at = 5, #ARGV, 2 do
    local id, guard = ARGV[at], ARGV[at + 1]
    local stays = gone[id] ~= nil or guard ~= '' and not is_that(id, guard)
    removed[#removed + 1] = stays and 0 or look(id, standing(id))
end
remove_noted()
mark_ghosts()
publish()
return answer(removed)
