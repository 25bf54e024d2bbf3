-- KEYS: prefix of the namespace, its format. A second key that is there lets a cluster refuse a call while the
-- slot moves, whose keys are then on two nodes. ARGV: "history" for records up to their history, with what is
-- in the list beside them, or "head" for all but their bodies; then ids. Returns false where there is none.
local found, is_history = {}, ARGV[1] == 'history'
for place = 2, #ARGV do
    local key = KEYS[1] .. 'r:' .. ARGV[place]
    local value = redis.pcall('GETRANGE', key, '0', '1023')
    if type(value) == 'table' then
        if not string.find(value.err, 'WRONGTYPE', 1, true) then return value end
        value = 'not a string'
    elseif #value >= 100 then
        local _, history, extras, token, fixed, facets, progress, head =
            struct.unpack('>HI4BxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxHI4I4I4I4', value, 10)
        local stop = 100 + token + fixed + facets + history + (is_history and 0 or progress + head)
        if #value > stop then
            value = string.sub(value, 1, stop)
        elseif #value == 1024 and #value < stop then
            value = value .. redis.call('GETRANGE', key, '1024', string.format('%.0f', stop - 1))
        end
        if is_history and extras % 2 == 1 then
            local older = redis.pcall('LRANGE', KEYS[1] .. 'h:' .. ARGV[place], '0', '-1')
            value = {value, older.err and '' or table.concat(older)}
        end
    end
    found[place - 1] = value ~= '' and value or false
end
return found
