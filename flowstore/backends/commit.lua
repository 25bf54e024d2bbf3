-- ARGV: now, how many expired records to sweep, then 12 for each write (see FIELDS).
-- Returns {applied, version} for each; {0, -1, reason}: what stands cannot be read or written over.
local FIELDS = {'id', 'status', 'stage', 'ceiling', 'if_version', 'is_finished', 'expires', 'submitted',
                'token', 'sort', 'facets_json', 'payload'}
local now = tonumber(ARGV[1])

local function write_at(position)
    local write = {}
    for offset, field in ipairs(FIELDS) do write[field] = ARGV[position + offset] end
    write.facets = cjson.decode(write.facets_json)
    return write
end

-- Neither Lua nor Redis rolls back: before the first write of an item, look at every index that it needs.
local kinds = {}
local function obstacle(record)
    local keys = index_keys(record)
    if record.expires ~= '-' then keys[#keys + 1] = expiry_key end
    for _, key in ipairs(keys) do
        local kind = kinds[key] or redis.call('TYPE', key).ok
        kinds[key] = kind
        if kind ~= 'zset' and kind ~= 'none' then return key .. ' is a ' .. kind .. ', expected a zset' end
    end
end

local function is_allowed(write, record, version)
    if write.if_version ~= '' then return version == tonumber(write.if_version) end
    return not record or record.stage <= tonumber(write.ceiling)
end

local function apply(write)
    local old = standing(write.id)
    if old == CORRUPT then return {0, -1, 'the standing record is not of this format'} end
    if old and old.token == write.token then return {1, old.version} end
    local record = old
    if old and is_expired(old, now) then record = nil end
    local version = record and record.version or 0
    if not is_allowed(write, record, version) then return {0, version} end
    local reason = obstacle(write) or old and obstacle(old)
    if reason then return {0, -1, reason} end
    local inboxes = inboxes_of(write.id)
    if old then unindex(write.id, old) end
    index(write.id, write)  -- before the record: where a right is missing, no record stays unlisted
    local header = {'1', write.status, write.stage, string.format('%.0f', version + 1), write.expires,
                    write.submitted, write.token, write.sort, write.facets_json}
    redis.call('SET', record_key(write.id), table.concat(header, ' ') .. '\n' .. write.payload)
    tell(write.id, inboxes, write.is_finished == '1' and 'f' or 'w')
    return {1, version + 1}
end

local outcomes = {}
for position = 2, #ARGV - 1, #FIELDS do outcomes[#outcomes + 1] = apply(write_at(position)) end
sweep(ARGV[2], ARGV[1])
publish()
return outcomes
