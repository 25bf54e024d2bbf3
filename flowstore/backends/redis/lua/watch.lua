-- ARGV: inbox, milliseconds to keep it registered, then ids. Registers the inbox for every id that may still
-- change, and returns the records: finished ones whole, others without body, false for none. One script, so
-- that no commit comes between the registration and the read. The registration expires, so a wait that ends
-- needs no command to clean up.
local has_written = false
local function register(key)
    -- First a write that a full server allows: waits must go on there.
    if not has_written then redis.call('PEXPIRE', key, ARGV[2]) end
    has_written = true
    if not try('SADD', key, ARGV[1]) then
        redis.call('DEL', key)  -- no set: nobody can be registered in it
        redis.call('SADD', key, ARGV[1])
    end
    redis.call('PEXPIRE', key, ARGV[2])
end

local found = {}
for number = 3, #ARGV do
    local id = ARGV[number]
    local record = standing(id)
    local is_final = record and record ~= CORRUPT and FINISHED[record.status]
    if not is_final or record.expires ~= '-' then register(prefix .. 'w:' .. id) end
    if is_final then
        found[number - 2] = redis.call('GET', record_key(id))
    elseif record == CORRUPT then
        found[number - 2] = 'corrupt'
    else
        found[number - 2] = record and without_body(redis.call('GET', record_key(id))) or false
    end
end
return found
