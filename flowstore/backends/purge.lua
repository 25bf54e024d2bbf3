-- ARGV: now, limit, '1' for everything. Returns how many live and how many expired records were removed,
-- and 1 when nothing was left to remove.
local now, limit = tonumber(ARGV[1]), tonumber(ARGV[2])
if ARGV[3] ~= '1' then
    redis.call('ZCARD', expiry_key)  -- raises where a sweep would find nothing in a key of the wrong type
    local expired, seen = sweep(limit, ARGV[1])
    publish()
    return {0, expired, seen < limit and 1 or 0}
end
local live, expired, seen = 0, 0, 0
for _, status in ipairs(STATUSES) do
    local key = index_key(status, '')
    for _, member in ipairs(redis.call('ZRANGE', key, 0, limit - seen - 1)) do
        seen = seen + 1
        local id = string.sub(member, 17)
        local record = standing(id)
        if not record or record == CORRUPT then
            redis.call('ZREM', key, member)
        elseif is_expired(record, now) then
            expired = expired + 1
        else
            live = live + 1
        end
        if record then remove(id, record, now) end
    end
    if seen >= limit then break end
end
publish()
return {live, expired, seen < limit and 1 or 0}
