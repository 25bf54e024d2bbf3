-- ARGV from 5: ids. Returns for each 1 if a live record was removed, else 0.
if refusal and not was_done then return refusal end
local removed = {}

local function look(id, version, ...)
    return version ~= nil and drop(id, version, ...) and 1 or 0
end

for place = 5, #ARGV do removed[place - 4] = gone[ARGV[place]] and 0 or look(ARGV[place], standing(ARGV[place])) end
remove_noted()
mark_ghosts()
publish()
return answer(removed)
