-- ARGV: the first time that is not over, then for each owner: section, owner, how many of the last or "", how
-- many keys follow or "" for all, these keys. Returns keys and values of each, alternating.
local found, at, next_high, next_low = {}, 2, struct.unpack('>I4I4', ARGV[1])
while at <= #ARGV do
    local section, owner, last, count = ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
    local behind, of_owner, is_live = section .. ':' .. owner, {}, true
    at = at + 4
    if owner ~= '' then
        local value = redis.pcall('GETRANGE', KEYS[1] .. 'r:' .. owner, '0', '50')
        is_live = value ~= ''
        if type(value) == 'string' and #value == 51 then
            local format, extras, high, low = struct.unpack('>BxxxxxxxxxxxxxxBxxxxxxxxxxxxxxxxxxxxxxxxxxI4I4', value)
            is_live = high > next_high or high == next_high and low >= next_low
            if format == 51 and extras < 2 then is_live = false end  -- what there is belonged to one that was evicted
        end
    end
    local values, order = KEYS[1] .. 'e:' .. behind, KEYS[1] .. 'k:' .. behind
    if is_live and count then
        for place = at, at + count - 1 do
            local value = redis.call('HGET', values, ARGV[place])
            if value then of_owner[#of_owner + 1], of_owner[#of_owner + 2] = ARGV[place], value end
        end
    elseif is_live and last ~= '' and redis.call('ZCARD', order) == redis.call('HLEN', values) then
        for _, key in ipairs(redis.call('ZRANGE', order, '-' .. last, '-1')) do
            of_owner[#of_owner + 1], of_owner[#of_owner + 2] = key, redis.call('HGET', values, key)
        end
    elseif is_live then
        of_owner = redis.call('HGETALL', values)
    end
    at = at + (count or 0)
    found[#found + 1] = of_owner
end
return found
