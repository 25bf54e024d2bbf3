-- ARGV: now, id or "" for all tasks, "1" for the first transition of each task only, bounds of a ZRANGE
-- BYLEX, limit, how many entries to examine at most, a lower bound of the entries in the span.
-- Returns the entry to go on after ("" at the end) and at most `limit` entries in order; for one task "" and
-- all of its entries.
local id, first_only, from, to, start = ARGV[2], ARGV[3] == '1', ARGV[4], ARGV[5], ARGV[8]
local limit, budget = tonumber(ARGV[6]), tonumber(ARGV[7])

if id ~= '' then
    local record = standing(id)
    if not record or record ~= CORRUPT and is_expired(record, tonumber(ARGV[1])) then return {'', {}} end
    return {'', redis.call('LRANGE', history_key(id), 0, -1)}
end

-- The first entry of each task in the span.
local firsts = {}
local function first_of(task)
    for _, entry in ipairs(try('LRANGE', history_key(task), 0, -1) or {}) do
        if entry >= start and not (firsts[task] and firsts[task] <= entry) then firsts[task] = entry end
    end
    return firsts[task]
end

local function is_first(entry)
    local length, stop = string.match(entry, '^%x+ %l+ %d+ (%d+) ()')
    if not length then return false end  -- no transition of this format
    local task = string.sub(entry, stop + tonumber(length))
    local first = firsts[task] or first_of(task)
    return not first or entry <= first
end

local found, last = {}, ''
local entries = redis.call('ZRANGE', log_key, from, to, 'BYLEX', 'LIMIT', 0, first_only and budget or limit)
for _, entry in ipairs(entries) do
    if not first_only or is_first(entry) then found[#found + 1] = entry end
    last = entry
    if #found == limit then break end
end
if #found < limit and #entries < (first_only and budget or limit) then last = '' end
return {last, found}
