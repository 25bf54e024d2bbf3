-- ARGV: now, then ids. Returns 1 for each live record that was removed, 0 for the others.
local said = begin_even_when_full()
if said then return said end
local now, removed = tonumber(ARGV[1]), {}
for number = 2, #ARGV do
    local record = standing(ARGV[number])
    if record then remove(ARGV[number], record, now) end
    local was_live = record and (record == CORRUPT or not is_expired(record, now))
    removed[number - 1] = was_live and 1 or 0
end
publish()
return say(removed)
