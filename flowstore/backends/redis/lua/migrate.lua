-- ARGV for each record: id, how its value begins in format 2, the new value or "" to leave it, then lists,
-- each behind its length: pairs of index and entry to add, pairs to remove, items for the list of its
-- transitions, and in fours hash, key, old and new value. Whoever else has written the record keeps it.
local at = 1
local function list()
    local count = tonumber(ARGV[at])
    at = at + 1 + count
    return at - count, at - 1
end

while at <= #ARGV do
    local id, before, value = ARGV[at], ARGV[at + 1], ARGV[at + 2]
    local key, log = KEYS[1] .. 'r:' .. id, KEYS[1] .. 'h:' .. id
    at = at + 3
    local adds, last_add = list()
    local removals, last_removal = list()
    local items, last_item = list()
    local values, last_value = list()
    local is_same = id == '' or redis.pcall('GETRANGE', key, '0', tostring(#before - 1)) == before
    if is_same or value == '' then
        if value ~= '' then
            redis.call('SET', key, value)
            redis.pcall('UNLINK', log)
            if items <= last_item then redis.call('RPUSH', log, unpack(ARGV, items, last_item)) end
        end
        for place = adds, last_add, 2 do redis.pcall('ZADD', KEYS[1] .. ARGV[place], '0', ARGV[place + 1]) end
        for place = removals, last_removal, 2 do redis.pcall('ZREM', KEYS[1] .. ARGV[place], ARGV[place + 1]) end
        for place = values, last_value, 4 do
            if redis.pcall('HGET', KEYS[1] .. ARGV[place], ARGV[place + 1]) == ARGV[place + 2] then
                redis.call('HSET', KEYS[1] .. ARGV[place], ARGV[place + 1], ARGV[place + 3])
            end
        end
    end
end
return 1
