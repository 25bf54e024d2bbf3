-- Gives a record another expiry and check, if its version and check are those of `guard`: true if they are. What
-- changes is written in place, so that it does not matter how large the record is. `kept`: for how many
-- milliseconds the server keeps it, and what belongs to it, "" for ever.
local function change_expiry(id, guard, change, kept)
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
    for _, name in ipairs({'r:', 'h:', 'e:data:', 'k:data:', 'e:checkpoint:', 'k:checkpoint:'}) do
        if kept == '' then call('PERSIST', prefix .. name .. id) else call('PEXPIRE', prefix .. name .. id, kept) end
    end
    return true
end
