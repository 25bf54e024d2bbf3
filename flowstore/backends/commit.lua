-- ARGV: now, how many expired records to sweep, a line for each write, then id and payload of each,
-- back to back. Returns for each -1: applied; the version that stands in its way, 0 where no live record
-- does; or why what stands cannot be read or written over.
local APPLIED = -1
-- Bytes of id and payload, what must stand ("<=ceiling" or "=version"), header without its version.
local LINE = '^(%d+) (%d+) (<?=)(%d+) ((%l+) %d+) ((%S+) %S+ (%S+) (%x+) (%[[^\n]*%]))\n()'
local now = tonumber(ARGV[1])

-- Neither Lua nor Redis rolls back: before the first write of an item, look at every index that it needs.
local checked = {}
local function wrong_kind(key)
    if checked[key] then return nil end
    local kind = redis.call('TYPE', key).ok
    if kind ~= 'zset' and kind ~= 'none' then return key .. ' is a ' .. kind .. ', expected a zset' end
    checked[key] = true
end

local function obstacle(record)
    local reason = record.expires ~= '-' and wrong_kind(expiry_key)
    if reason then return reason end
    if checked[record.listings] then return nil end
    for _, key in ipairs(record.listings) do
        reason = wrong_kind(key)
        if reason then return reason end
    end
    checked[record.listings] = true
end

local function is_allowed(write, record, version)
    if write.needs == '=' then return version == write.bound end
    return not record or record.stage <= write.bound
end

local function apply(write)
    local id, old = write.id, standing(write.id)
    if old == CORRUPT then return 'the standing record is not of this format' end
    if old and old.token == write.token then return APPLIED end
    local record = old
    if old and is_expired(old, now) then record = nil end
    local version = record and record.version or 0
    if not is_allowed(write, record, version) then return version end
    local reason = obstacle(write) or old and obstacle(old)
    if reason then return reason end
    local inboxes = inboxes_of(id)
    if old then unindex(id, old) end
    index(id, write)  -- before the record: where a right is missing, no record stays unlisted
    local header = '1 ' .. write.state .. string.format(' %.0f ', version + 1) .. write.rest .. '\n'
    redis.call('SET', record_key(id), header .. write.payload)
    tell(id, inboxes, FINISHED[write.status] and 'f' or 'w')
    return APPLIED
end

local at = 1
local function cut(length)
    at = at + length
    return string.sub(ARGV[4], at - length, at - 1)
end

local function commit_all()
    local outcomes, line_at, has_lost = {}, 1, false
    while line_at <= #ARGV[3] do
        local id_length, length, needs, bound, state, status, rest, expires, token, sort, facets, behind =
            string.match(ARGV[3], LINE, line_at)
        line_at = behind
        local outcome = apply({
            id = cut(id_length), payload = cut(length), needs = needs, bound = tonumber(bound), state = state,
            status = status, rest = rest, expires = expires, token = token, sort = sort,
            listings = listings_of(status, facets)})
        outcomes[#outcomes + 1] = outcome
        has_lost = has_lost or outcome ~= APPLIED
    end
    sweep(ARGV[2], ARGV[1])
    publish()
    return has_lost and say(outcomes) or outcomes
end

local function all_applied()
    local outcomes = {}
    for _ in string.gmatch(ARGV[3], '\n') do outcomes[#outcomes + 1] = APPLIED end
    return outcomes
end

-- That this comes before all other writes makes a full server refuse the batch whole. It sweeps all the
-- same, for else what has expired would fill it for ever.
local was_done, said, refusal = begin()
if was_done then return said or all_applied() end
if refusal then
    sweep(ARGV[2], ARGV[1])
    publish()
    return refusal
end
local is_whole, outcomes = pcall(commit_all)
if not is_whole then
    redis.pcall('DEL', line)  -- nothing was said, so this was not carried out
    error(outcomes)
end
return outcomes
