-- Gives a record another expiry and check, if its version and check are those of `guard`: true if they are. What
-- changes is written in place, so that it does not matter how large the record is.
local function change_expiry(id, guard, change)
    local key, due = prefix .. 'r:' .. id, prefix .. 'x'
    local header = call('GETRANGE', key, '0', '99')
    if sub(header, 2, 9) .. sub(header, 93, 100) ~= guard then return false end
    local former, expires, flags = sub(header, 43, 50), sub(change, 1, 8), string.byte(header, 18)
    local has_expiry = flags % 32 > 15
    if expires ~= NEVER then call('ZADD', due, '0', expires .. id) end
    if has_expiry and former ~= expires then try('ZREM', due, former .. id) end
    flags = flags - (has_expiry and 16 or 0) + (expires ~= NEVER and 16 or 0)
    call('SETRANGE', key, '17', string.char(flags))
    call('SETRANGE', key, '42', expires)
    call('SETRANGE', key, '92', sub(change, 9))
    return true
end
