-- ARGV: now, then ids. Returns for each id 1 if a live record was removed, else 0.
local answered = begin_even_when_full()
if answered then return answered end
local now, removed = tonumber(ARGV[1]), {}
for number = 2, #ARGV do
    local record = standing(ARGV[number])
    if record then remove(ARGV[number], record, now) end
    local was_live = record and (record == CORRUPT or not is_expired(record, now))
    removed[number - 1] = was_live and 1 or 0
end
publish()
return answer(removed)
