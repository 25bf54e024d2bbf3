-- Put in front of every script. KEYS[1] is the prefix of the namespace; all keys share its hash tag.
--
-- A write that is guarded, indexed and notified takes six or seven commands. Sent one by one, two writers can
-- both pass the guard; MULTI cannot check it at all, as it sees no reply before the end. In a script nothing
-- comes between, and it is one trip.
--
-- A script is no transaction: what it has written stays when it fails. So everything that can fail, such as a
-- key of the wrong type, is checked before the first write, and refused with a value instead of an error. A
-- new write needs a check of its own there (`obstacle` in commit.lua and put.lua).
--
-- A server that is out of memory refuses a script only by its first write. So a script that stores begins
-- with a SET, and is refused as a whole; one that frees memory begins with PEXPIRE, which is still allowed.
--
-- The driver sends a call again when its reply was lost, and a copy that was stuck in the network may arrive
-- after its caller has given up. So a call that writes has a line, a key on which it is alone, and a number
-- that rises with each call. The line keeps the last number and its answer: the same number gets that answer,
-- a lower one is refused. Without it, the first finished write would learn that it lost, against itself.
--
-- Times, versions and sort keys travel as text: a Lua number is a double and prints 14 digits only.
--
-- A record is one string, "<header>\n<progress>\n<head>\n<body>", its header
-- "2 <status> <stage> <version> <expires_at or -> <submitted_at or -> <token> <sort> <facets>".
-- What belongs to it: h:<id> lists its transitions, and t those of all tasks in the order of time;
-- e:<section>:<id> keeps values by key, and k:<section>:<id> the order of numbered keys. `names` holds the
-- task names of roots.
local prefix = KEYS[1]
local STATUSES = {'pending', 'running', 'retrying', 'success', 'failed', 'cancelled'}
local FINISHED = {pending = false, running = false, retrying = false,
                  success = true, failed = true, cancelled = true}
local CORRUPT = {}
local messages = {}

local function record_key(id) return prefix .. 'r:' .. id end
local function index_key(status, facet) return prefix .. 'i:' .. status .. ':' .. facet end
local expiry_key, log_key, names_key = prefix .. 'x', prefix .. 't', prefix .. 'names'
local function history_key(id) return prefix .. 'h:' .. id end
local function values_key(section, owner) return prefix .. 'e:' .. section .. ':' .. owner end
local function numbers_key(section, owner) return prefix .. 'k:' .. section .. ':' .. owner end

-- Like redis.call, but nil where the key has the wrong type: a damaged key must not fail others' writes.
local function try(...)
    local reply = redis.pcall(...)
    if type(reply) ~= 'table' or not reply.err then return reply end
    if not string.find(reply.err, 'WRONGTYPE', 1, true) then redis.call(...) end  -- raises it again
    return nil
end

-- The line is KEYS[2]; at the end of ARGV stand the milliseconds to keep it and the number of the call.
local line, number, kept_ms = KEYS[2], nil, nil
if line then number, kept_ms = table.remove(ARGV), table.remove(ARGV) end

-- Whether the call was carried out before, and its answer then. A call that others have followed is refused.
local function recall(before)
    local last, at = string.match(before or '', '^(%d+) ?()')
    if not last or tonumber(last) < tonumber(number) then return false, nil end
    if last ~= number then return true, redis.error_reply('ERR this call comes too late, others followed') end
    return true, at <= #before and cmsgpack.unpack(string.sub(before, at)) or nil
end

-- As `recall`, and takes the number: from here on the call counts as carried out. The third value is the
-- refusal of a full server.
local function begin()
    local before = redis.pcall('SET', line, number, 'PX', kept_ms, 'GET')
    local refusal = type(before) == 'table' and before or nil
    if refusal then before = redis.call('GET', line) end
    local was_done, answered = recall(before)
    if was_done and not refusal then redis.call('SET', line, before, 'PX', kept_ms) end
    return was_done, answered, refusal
end

-- As `begin`, for scripts that free memory.
local function begin_even_when_full()
    redis.call('PEXPIRE', line, kept_ms)
    local was_done, answered = begin()
    return was_done and answered
end

local function answer(reply)
    redis.call('SET', line, number .. ' ' .. cmsgpack.pack(reply), 'PX', kept_ms)
    return reply
end

-- The keys of the indexes that list a record, in order; its facets by kind, such as `root`; and all of them
-- as the set `has`. nil unless `facets` is a JSON list of strings. Cached: most writes of a trip look alike.
local listed_in = {}
local function listings_of(status, facets)
    local known = listed_in[status .. facets]
    if known then return known end
    local is_json, names = pcall(cjson.decode, facets)
    if not is_json then return nil end
    local keys = {index_key(status, ''), facets = names, has = {}}
    for _, name in ipairs(names) do
        if type(name) ~= 'string' then return nil end
        keys[#keys + 1] = index_key(status, name)
        keys.has[name] = true
        local kind, value = string.match(name, '^(%l+):(.+)$')
        if kind then keys[kind] = value end
    end
    listed_in[status .. facets] = keys
    return keys
end

local function parse(value)
    local stop = string.find(value, '\n', 1, true)
    if not stop then return CORRUPT end
    local status, stage, version, expires, token, sort, facets = string.match(
        string.sub(value, 1, stop - 1), '^2 (%l+) (%d+) (%d+) (%-?%d*) %-?%d* (%S+) (%x+) (%[.*%])$')
    if FINISHED[status or ''] == nil or math.max(#stage, #version) > 15 then return CORRUPT end
    local is_time = expires == '-' or tonumber(expires) and #expires < 20
    local listings = listings_of(status, facets)
    if not listings or not is_time then return CORRUPT end
    return {status = status, stage = tonumber(stage), version = tonumber(version), token = token,
            expires = expires, sort = sort, listings = listings}
end

-- The header of the standing record: nil where there is none, CORRUPT where it cannot be read. The body may
-- be megabytes, so the first kilobyte is tried before the whole.
local function standing(id)
    local value = try('GETRANGE', record_key(id), 0, 1023)
    if not value then return CORRUPT end
    if value == '' then return nil end
    if not string.find(value, '\n', 1, true) then value = redis.call('GET', record_key(id)) end
    return parse(value)
end

-- A stored record up to its head.
local function without_body(value)
    local stop = 0
    for _ = 1, 3 do
        stop = stop and string.find(value, '\n', stop + 1, true)
    end
    return stop and string.sub(value, 1, stop - 1) or value
end

local function is_expired(record, now)
    return record.expires ~= '-' and tonumber(record.expires) <= now
end

local function index(id, record)
    for _, key in ipairs(record.listings) do redis.call('ZADD', key, 0, record.sort .. id) end
    if record.expires ~= '-' then redis.call('ZADD', expiry_key, record.expires, id) end
    if record.listings.run then redis.call('SADD', names_key, record.listings.run) end
end

-- Never fails: a key of the wrong type has no entry to remove.
local function unindex(id, record)
    for _, key in ipairs(record.listings) do try('ZREM', key, record.sort .. id) end
    if record.expires ~= '-' then try('ZREM', expiry_key, id) end
end

-- The inboxes registered for the id; nil where the key has the wrong type.
local function inboxes_of(id) return try('SMEMBERS', prefix .. 'w:' .. id) end

local function add_change(inbox, change, id)
    messages[inbox] = messages[inbox] or {}
    local is_removal = change == 'd' or change == 'e'
    table.insert(messages[inbox], {change, id, is_removal and ARGV[1] or nil})  -- ARGV[1] is `now`
end

-- The inboxes registered for all ids, once they were looked up.
local tails

-- Add a change to the message of every inbox registered for the id: a status, 'p' for progress, 'd' deleted,
-- 'e' expired. A finished status or a removal ends the registrations, as the waits end with it.
local function notify(id, inboxes, change)
    local is_notified = {}
    for _, inbox in ipairs(inboxes or {}) do
        add_change(inbox, change, id)
        is_notified[inbox] = true
    end
    if FINISHED[change] ~= nil then
        tails = tails or inboxes_of('') or {}
        for _, inbox in ipairs(tails) do
            if not is_notified[inbox] then add_change(inbox, change, id) end
        end
    end
    local is_end = FINISHED[change] or change == 'd' or change == 'e'
    if is_end and not (inboxes and #inboxes == 0) then redis.call('DEL', prefix .. 'w:' .. id) end
end

-- One message per inbox, however many changes it holds.
local function publish()
    for inbox, changes in pairs(messages) do redis.call('PUBLISH', inbox, cjson.encode(changes)) end
end

local OWNED = {'data', 'checkpoint'}

local function remove_belongings(id)
    local key = history_key(id)
    local entries = try('LRANGE', key, 0, -1) or {}
    for first = 1, #entries, 500 do
        try('ZREM', log_key, unpack(entries, first, math.min(first + 499, #entries)))
    end
    redis.call('UNLINK', key)
    for _, section in ipairs(OWNED) do
        redis.call('UNLINK', values_key(section, id), numbers_key(section, id))
    end
end

local function forget_unused(name)
    local keys = {}
    for number, status in ipairs(STATUSES) do keys[number] = index_key(status, 'run:' .. name) end
    if redis.call('EXISTS', unpack(keys)) == 0 then try('SREM', names_key, name) end
end

local function remove(id, record, now)
    if record ~= CORRUPT then
        unindex(id, record)
        if record.listings.run then forget_unused(record.listings.run) end
    end
    redis.call('DEL', record_key(id))
    remove_belongings(id)
    notify(id, inboxes_of(id), record ~= CORRUPT and is_expired(record, now) and 'e' or 'd')
end

-- Remove at most `limit` expired records; returns how many, and how many entries were examined. An entry that
-- is not of an expired record is dropped. Runs after every write, so nothing that it meets may make it fail.
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
