-- ARGV for each part: id, how the value begins that must stand for any of it to be done, or "" for no
-- condition; the new value, or "" to leave it; a key to collect transitions in, how many are in it already; then
-- lists, each behind its length: pairs of index and entry to add, pairs to remove, transitions to collect, and
-- in fours hash, key, old and new value. What is collected becomes the list of the record with its new value.
-- Whoever else has written the record keeps it.
--
-- Lua does not roll back. So what can fail comes first, and may be done twice; what ends the old format last.
local at = 1
local function list()
    local count = tonumber(ARGV[at])
    at = at + 1 + count
    return at - count, at - 1
end

-- Like redis.call, but a key of the wrong type, which somebody else made, fails nothing.
local function try(...)
    local reply = redis.pcall(...)
    if type(reply) == 'table' and reply.err and not string.find(reply.err, 'WRONGTYPE', 1, true) then redis.call(...) end
    return reply
end

while at <= #ARGV do
    local id, before, value, collected, count = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], tonumber(ARGV[at + 4])
    local key, log, new_log = KEYS[1] .. 'r:' .. id, KEYS[1] .. 'h:' .. id, KEYS[1] .. collected
    at = at + 5
    local adds, last_add = list()
    local removals, last_removal = list()
    local items, last_item = list()
    local values, last_value = list()
    if before == '' or redis.pcall('GETRANGE', key, '0', tostring(#before - 1)) == before then
        for place = adds, last_add, 2 do try('ZADD', KEYS[1] .. ARGV[place], '0', ARGV[place + 1]) end
        for place = values, last_value, 4 do
            if redis.pcall('HGET', KEYS[1] .. ARGV[place], ARGV[place + 1]) == ARGV[place + 2] then
                redis.call('HSET', KEYS[1] .. ARGV[place], ARGV[place + 1], ARGV[place + 3])
            end
        end
        if items <= last_item then
            if count == 0 then
                redis.call('UNLINK', new_log)
            else  -- sent again, it finds its own
                redis.call('LTRIM', new_log, '0', tostring(count - 1))
            end
            for first = items, last_item, 4000 do
                redis.call('RPUSH', new_log, unpack(ARGV, first, math.min(first + 3999, last_item)))
            end
            redis.call('PEXPIRE', new_log, '3600000')
            count = count + last_item - items + 1
        end
        if value ~= '' then
            if redis.call('LLEN', new_log) ~= count then return redis.error_reply('ERR the transitions are not complete') end
            redis.call('SET', key, value)
            if count > 0 then
                redis.call('PERSIST', new_log)
                redis.call('RENAME', new_log, log)
            else
                redis.call('UNLINK', log)
            end
        end
        for place = removals, last_removal, 2 do try('ZREM', KEYS[1] .. ARGV[place], ARGV[place + 1]) end
    end
end
return 1
