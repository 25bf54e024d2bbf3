-- ARGV: inbox, milliseconds that it stays registered, then ids. Registers the inbox for what may
-- still change and returns the records: finished ones whole, others without body, false for none.
local found = {}
for number = 3, #ARGV do
    local id = ARGV[number]
    local record = standing(id)
    local is_final = record and record ~= CORRUPT and FINISHED[record.status]
    if not is_final or record.expires ~= '-' then
        redis.call('SADD', prefix .. 'w:' .. id, ARGV[1])
        redis.call('PEXPIRE', prefix .. 'w:' .. id, ARGV[2])
    end
    if is_final then
        found[number - 2] = redis.call('GET', record_key(id))
    elseif record == CORRUPT then
        found[number - 2] = 'corrupt'
    else
        found[number - 2] = record and without_body(id) or false
    end
end
return found
