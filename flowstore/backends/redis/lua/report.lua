-- ARGV: now, then for each report: id, lowest and highest stage, progress.
-- Returns for each 1 if it was applied, else 0.
local was_done, answered, refusal = begin()
if was_done then return answered end
if refusal then return refusal end
local now, applied = tonumber(ARGV[1]), {}

local function report(id, lowest, highest, progress)
    local record = standing(id)
    if not record or record == CORRUPT or FINISHED[record.status] or is_expired(record, now) then return 0 end
    if record.stage < lowest or record.stage > highest then return 0 end
    local value = redis.call('GET', record_key(id))
    local first = string.find(value, '\n', 1, true)
    local second = string.find(value, '\n', first + 1, true)
    if not second then return 0 end
    redis.call('SET', record_key(id), string.sub(value, 1, first) .. progress .. string.sub(value, second))
    notify(id, inboxes_of(id), 'p')
    return 1
end

for at = 2, #ARGV, 4 do
    local lowest, highest = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
    applied[#applied + 1] = report(ARGV[at], lowest, highest, ARGV[at + 3])
end
publish()
return answer(applied)
