-- ARGV: now, section, owner or "", how many of the last numbered ones or "-", then keys; without keys, all.
-- Returns keys and values, alternating.
local section, owner, last = ARGV[2], ARGV[3], ARGV[4]
local values = values_key(section, owner)
if owner ~= '' then
    local record = standing(owner)
    if not record or record ~= CORRUPT and is_expired(record, tonumber(ARGV[1])) then return {} end
end
local keys = {unpack(ARGV, 5)}
if last ~= '-' then
    keys = redis.call('ZRANGE', numbers_key(section, owner), -tonumber(last), -1)
elseif #keys == 0 then
    return redis.call('HGETALL', values)
end
local found = {}
for _, key in ipairs(keys) do
    local value = redis.call('HGET', values, key)
    if value then
        found[#found + 1] = key
        found[#found + 1] = value
    end
end
return found
