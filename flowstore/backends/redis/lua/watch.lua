-- ARGV: inbox, milliseconds to keep it registered, then ids. Registers the inbox for every id that may still
-- change, and returns the records: finished ones whole, others without body, false for none. One script, so
-- that no write comes between the registration and the read. The registration expires, so a wait that ends
-- needs no command to clean up.
local found, has_written = {}, false
for place = 3, #ARGV do
    local id = ARGV[place]
    local key, waiters = KEYS[1] .. 'r:' .. id, KEYS[1] .. 'w:' .. id
    local value, is_final, is_lasting, stop = redis.pcall('GETRANGE', key, '0', '1023'), false, false, nil
    if type(value) == 'table' then
        if not string.find(value.err, 'WRONGTYPE', 1, true) then return value end
        value = 'not a string'
    elseif #value >= 100 then
        local format, history, status, flags, token, fixed, facets, progress, head =
            struct.unpack('>BxxxxxxxxxxI4xBBxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxHI4I4I4I4', value)
        is_final = format == 51 and status > 2 and status < 6
        is_lasting = flags % 32 < 16
        stop = format == 51 and 100 + token + fixed + facets + history + progress + head
    end
    if not (is_final and is_lasting) then
        if not has_written then redis.call('PEXPIRE', waiters, ARGV[2]) end  -- allowed when full, as all is then
        has_written = true
        local added = redis.pcall('SADD', waiters, ARGV[1])
        if type(added) == 'table' then
            if not string.find(added.err, 'WRONGTYPE', 1, true) then return added end
            redis.call('DEL', waiters)  -- nobody can be registered in it
            redis.call('SADD', waiters, ARGV[1])
        end
        redis.call('PEXPIRE', waiters, ARGV[2])
    end
    if is_final and #value == 1024 then
        value = redis.call('GET', key)
    elseif not is_final and stop and #value > stop then
        value = string.sub(value, 1, stop)
    elseif not is_final and stop and #value == 1024 then
        value = value .. redis.call('GETRANGE', key, '1024', string.format('%.0f', stop - 1))
    end
    found[place - 2] = value ~= '' and value or false
end
return found
