-- ARGV: now, how many expired records to sweep, then 12 for each write (see FIELDS).
-- Returns {applied, version} for each; version -1: the standing record cannot be read.
local FIELDS = {'id', 'status', 'stage', 'ceiling', 'if_version', 'is_finished', 'expires', 'submitted',
                'token', 'sort', 'facets', 'payload'}
local now = tonumber(ARGV[1])

local function write_at(position)
    local write = {}
    for offset, field in ipairs(FIELDS) do write[field] = ARGV[position + offset] end
    return write
end

-- Neither Lua nor Redis rolls back: look at every index before the first write.
local checked = {}
local function check_indexes(write)
    local keys = index_keys(write)
    keys[#keys + 1] = expiry_key
    for _, key in ipairs(keys) do
        if not checked[key] then
            local kind = redis.call('TYPE', key).ok
            if kind ~= 'zset' and kind ~= 'none' then return key .. ' is a ' .. kind end
            checked[key] = true
        end
    end
end

local function is_allowed(write, record, version)
    if write.if_version ~= '' then return version == tonumber(write.if_version) end
    return not record or record.stage <= tonumber(write.ceiling)
end

local function apply(write)
    local old = standing(write.id)
    if old == CORRUPT then return {0, -1} end
    if old and old.token == write.token then return {1, old.version} end
    local record = old
    if old and is_expired(old, now) then record = nil end
    local version = record and record.version or 0
    if not is_allowed(write, record, version) then return {0, version} end
    if old then unindex(write.id, old) end
    local header = {'1', write.status, write.stage, string.format('%.0f', version + 1), write.expires,
                    write.submitted, write.token, write.sort, write.facets}
    redis.call('SET', record_key(write.id), table.concat(header, ' ') .. '\n' .. write.payload)
    index(write.id, write)
    tell(write.id, write.is_finished == '1' and 'f' or 'w')
    return {1, version + 1}
end

local writes = {}
for position = 2, #ARGV - 1, #FIELDS do
    local write = write_at(position)
    local wrong = check_indexes(write)
    if wrong then return redis.error_reply('FLOWSTORE ' .. wrong .. ', expected a zset') end
    writes[#writes + 1] = write
end
local outcomes = {}
for number, write in ipairs(writes) do outcomes[number] = apply(write) end
sweep(ARGV[2], ARGV[1])
publish()
return outcomes
