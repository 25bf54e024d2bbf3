-- KEYS: prefix of the namespace, its format. A second key that is there lets a cluster refuse a call while the
-- slot moves, whose keys are then on two nodes. ARGV: "history" for records up to their history, with what is
-- in the list beside them, "head" for all but their bodies, or how many bytes of their bodies to return at most;
-- then ids. Returns false where there is none, and of a record whose body is cut also the size of all of it.
local found, is_history, most = {}, ARGV[1] == 'history', tonumber(ARGV[1])
for place = 2, #ARGV do
    local key = KEYS[1] .. 'r:' .. ARGV[place]
    local value = redis.pcall('GETRANGE', key, '0', '1023')
    if type(value) == 'table' then
        if not string.find(value.err, 'WRONGTYPE', 1, true) then return value end
        value = 'not a string'
    elseif #value >= 100 and string.byte(value) == 51 then
        local _, history, extras, token, fixed, facets, progress, head =
            struct.unpack('>HI4BxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxHI4I4I4I4', value, 10)
        local stop = 100 + token + fixed + facets + history + (is_history and 0 or progress + head) + (most or 0)
        local size = most and #value == 1024 and redis.call('STRLEN', key) or #value
        if #value > stop then
            value = string.sub(value, 1, stop)
        elseif #value == 1024 and #value < stop then
            value = value .. redis.call('GETRANGE', key, '1024', string.format('%.0f', stop - 1))
        end
        if is_history and extras % 2 == 1 then
            local older = redis.pcall('LRANGE', KEYS[1] .. 'h:' .. ARGV[place], '0', '-1')
            value = {value, older.err and '' or table.concat(older)}
        elseif most and size > #value then
            value = {value, size}
        end
    end
    found[place - 1] = value ~= '' and value or false
end
return found
