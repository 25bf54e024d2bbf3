-- ARGV: now, then for each value: section, owner or "", key or "" for the next number, "1" to put or "0" to
-- remove, the value, the required version or "-", how many to keep or "-". Returns for each: 1 applied, 0
-- not, -3 no owner, or the reason as text; the key; the version that stands now.
local now = tonumber(ARGV[1])

local function obstacle(values, numbers)
    local kind = redis.call('TYPE', values).ok
    if kind ~= 'hash' and kind ~= 'none' then return values .. ' is a ' .. kind .. ', expected a hash' end
    kind = redis.call('TYPE', numbers).ok
    if kind ~= 'zset' and kind ~= 'none' then return numbers .. ' is a ' .. kind .. ', expected a zset' end
end

local function next_number(numbers)
    local last = redis.call('ZRANGE', numbers, -1, -1)[1]
    return string.format('%016.0f', (tonumber(last) or 0) + 1)
end

local function put(section, owner, key, is_put, value, if_version, keep)
    local values, numbers = values_key(section, owner), numbers_key(section, owner)
    if owner ~= '' then
        local record = standing(owner)
        if record == CORRUPT then return {'the record of the task is not of this format', key, 0} end
        if not record or is_expired(record, now) then return {-3, key, 0} end
    end
    local reason = obstacle(values, numbers)
    if reason then return {reason, key, 0} end
    local is_numbered = key == ''
    if is_numbered then key = next_number(numbers) end
    local standing_value = redis.call('HGET', values, key)
    local version = standing_value and tonumber(string.match(standing_value, '^(%d+) ')) or 0
    if if_version ~= '-' and tonumber(if_version) ~= version then return {0, key, version} end
    if is_put == '0' then return {redis.call('HDEL', values, key), key, 0} end
    redis.call('HSET', values, key, string.format('%.0f ', version + 1) .. ARGV[1] .. '\n' .. value)
    if is_numbered then redis.call('ZADD', numbers, 0, key) end
    if keep ~= '-' then
        for _, dropped in ipairs(redis.call('ZRANGE', numbers, 0, -1 - tonumber(keep))) do
            redis.call('HDEL', values, dropped)
            redis.call('ZREM', numbers, dropped)
        end
    end
    return {1, key, version + 1}
end

local is_removal = true
for at = 2, #ARGV, 7 do is_removal = is_removal and ARGV[at + 3] == '0' end
if is_removal then redis.call('PEXPIRE', line, kept_ms) end  -- frees memory: allowed on a full server
local was_done, answered, refusal = begin()
if was_done then return answered end
if refusal and not is_removal then return refusal end
local outcomes = {}
for at = 2, #ARGV, 7 do outcomes[#outcomes + 1] = put(unpack(ARGV, at, at + 6)) end
return answer(outcomes)
