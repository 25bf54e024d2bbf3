-- ARGV: now, limit, then keys of this namespace. Removes the keys, with the records that they hold or list.
-- Returns how many live and how many expired records were removed, and 1 unless it stopped at the limit.
local answered = begin_even_when_full()
if answered then return answered end
local now, left = tonumber(ARGV[1]), tonumber(ARGV[2])
local live, expired = 0, 0

local function clear_record(id)
    local record = standing(id)
    if not record then return redis.call('UNLINK', record_key(id)) end
    remove(id, record, now)
    if record ~= CORRUPT and is_expired(record, now) then expired = expired + 1 else live = live + 1 end
end

-- At most `left` entries, each with its record.
local function clear_index(key, id_at)
    local members = try('ZRANGE', key, 0, left - 1)
    if not members then return redis.call('UNLINK', key) end
    left = left - #members
    if #members > 0 then redis.call('ZREMRANGEBYRANK', key, 0, #members - 1) end
    for _, member in ipairs(members) do clear_record(string.sub(member, id_at)) end
end

-- Only entries of tasks that have no history any more: the others are of records stored in the meantime.
local function clear_log()
    local entries = try('ZRANGE', log_key, 0, left - 1)
    if not entries then return redis.call('UNLINK', log_key) end
    for _, entry in ipairs(entries) do
        local length, stop = string.match(entry, '^%x+ %l+ %d+ (%d+) ()')
        local id = stop and string.sub(entry, stop + tonumber(length))
        if not id or redis.call('EXISTS', history_key(id)) == 0 then
            redis.call('ZREM', log_key, entry)
            left = left - 1
        end
    end
end

local function clear_key(key)
    local name = string.sub(key, #prefix + 1)
    local kind = string.sub(name, 1, 2)
    if string.match(name, '^[ek]:%l+:$') then
        return  -- of the namespace, not of a record
    elseif name == 't' then
        clear_log()
    elseif kind == 'h:' then
        remove_belongings(string.sub(name, 3))
    elseif kind == 'i:' then
        clear_index(key, 17)
    elseif name == 'x' then
        clear_index(key, 1)
    elseif kind == 'r:' and redis.call('EXISTS', key) == 1 then
        left = left - 1
        clear_record(string.sub(name, 3))
    elseif name ~= 'format' and not ((kind == 'w:' or kind == 'c:') and redis.call('PTTL', key) > 0) then
        redis.call('UNLINK', key)  -- those that expire belong to waits and lines still in use
    end
end

for number = 3, #ARGV do
    if left > 0 then clear_key(ARGV[number]) end
end
publish()
return answer({live, expired, left > 0 and 1 or 0})
