-- Put in front of every script. KEYS[1] is the prefix of the namespace; all keys share its hash tag.
-- A record is one string, "<header>\n<head>\n<body>", its header
-- "1 <status> <stage> <version> <expires_at or -> <submitted_at or -> <token> <sort> <facets>".
-- Times stay text: a Lua number prints only 14 digits.
local prefix = KEYS[1]
local STATUSES = {'pending', 'running', 'retrying', 'success', 'failed', 'cancelled'}
local FINISHED = {pending = false, running = false, retrying = false,
                  success = true, failed = true, cancelled = true}
local CORRUPT = {}
local told = {}

local function record_key(id) return prefix .. 'r:' .. id end
local function index_key(status, facet) return prefix .. 'i:' .. status .. ':' .. facet end
local expiry_key = prefix .. 'x'

-- Like redis.call, but nil where the key is of the wrong type.
local function try(...)
    local reply = redis.pcall(...)
    if type(reply) ~= 'table' or not reply.err then return reply end
    if not string.find(reply.err, 'WRONGTYPE', 1, true) then redis.call(...) end  -- raises it again
    return nil
end

-- The keys of the indexes that list a record, by status; nil unless `facets` is JSON of a list of strings.
local listed_in = {}
local function listings_of(status, facets)
    local known = listed_in[status .. facets]
    if known then return known end
    local is_json, names = pcall(cjson.decode, facets)
    if not is_json then return nil end
    local keys = {index_key(status, '')}
    for _, name in ipairs(names) do
        if type(name) ~= 'string' then return nil end
        keys[#keys + 1] = index_key(status, name)
    end
    listed_in[status .. facets] = keys
    return keys
end

local function parse(value)
    local stop = string.find(value, '\n', 1, true)
    if not stop then return CORRUPT end
    local status, stage, version, expires, token, sort, facets = string.match(
        string.sub(value, 1, stop - 1), '^1 (%l+) (%d+) (%d+) (%-?%d*) %-?%d* (%S+) (%x+) (%[.*%])$')
    if FINISHED[status or ''] == nil or math.max(#stage, #version) > 15 then return CORRUPT end
    local is_time = expires == '-' or tonumber(expires) and #expires < 20
    local listings = listings_of(status, facets)
    if not listings or not is_time then return CORRUPT end
    return {status = status, stage = tonumber(stage), version = tonumber(version), token = token,
            expires = expires, sort = sort, listings = listings}
end

-- The header of the standing record: nil where there is none, CORRUPT where it cannot be read.
local function standing(id)
    local value = try('GETRANGE', record_key(id), 0, 1023)
    if not value then return CORRUPT end
    if value == '' then return nil end
    if not string.find(value, '\n', 1, true) then value = redis.call('GET', record_key(id)) end
    return parse(value)
end

-- Header and head of a stored record.
local function without_body(value)
    local _, first = string.find(value, '\n', 1, true)
    local second = first and string.find(value, '\n', first + 1, true)
    return second and string.sub(value, 1, second - 1) or value
end

local function is_expired(record, now)
    return record.expires ~= '-' and tonumber(record.expires) <= now
end

local function index(id, record)
    for _, key in ipairs(record.listings) do redis.call('ZADD', key, 0, record.sort .. id) end
    if record.expires ~= '-' then redis.call('ZADD', expiry_key, record.expires, id) end
end

-- A key of the wrong type has no entry to remove.
local function unindex(id, record)
    for _, key in ipairs(record.listings) do try('ZREM', key, record.sort .. id) end
    if record.expires ~= '-' then try('ZREM', expiry_key, id) end
end

-- Of all who wait for the id; nil where the key is of the wrong type.
local function inboxes_of(id) return try('SMEMBERS', prefix .. 'w:' .. id) end

-- Note a change for every inbox that waits for the id; a wait ends with any change but 'w'.
local function tell(id, inboxes, change)
    if inboxes and #inboxes == 0 then return end
    for _, inbox in ipairs(inboxes or {}) do
        told[inbox] = told[inbox] or {}
        table.insert(told[inbox], {change, id})
    end
    if change ~= 'w' then redis.call('DEL', prefix .. 'w:' .. id) end
end

-- One message for each inbox, however many changes it holds.
local function publish()
    for inbox, changes in pairs(told) do redis.call('PUBLISH', inbox, cjson.encode(changes)) end
end

local function remove(id, record, now)
    if record ~= CORRUPT then unindex(id, record) end
    redis.call('DEL', record_key(id))
    tell(id, inboxes_of(id), record ~= CORRUPT and is_expired(record, now) and 'e' or 'd')
end

-- Remove at most `limit` expired records; how many, and how many entries were looked at. What is no
-- expired record loses its entry. Runs behind every write, so nothing that it meets may make it fail.
local function sweep(limit, now)
    local due, removed = try('ZRANGEBYSCORE', expiry_key, '-inf', now, 'LIMIT', 0, limit) or {}, 0
    for _, id in ipairs(due) do
        local record = standing(id)
        if record and record ~= CORRUPT and is_expired(record, tonumber(now)) then
            remove(id, record, tonumber(now))
            removed = removed + 1
        else
            redis.call('ZREM', expiry_key, id)
        end
    end
    return removed, #due
end
