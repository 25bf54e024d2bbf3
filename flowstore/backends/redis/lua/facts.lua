-- KEYS: prefix of the namespace, its format. ARGV: how many records of each status to weigh at most. Returns the
-- format, what the server says of itself, its time, and about how many bytes the namespace takes; false for what
-- this user may not see, or a server does not know.
local function asked(...)
    local answer = redis.pcall(...)
    if type(answer) == 'table' and answer.err then return false end
    return answer
end

local function weight(key)
    return asked('MEMORY', 'USAGE', key) or 0
end

-- How many entries of indexes a record has by its facets, each of which stands behind its length.
local function facets(key)
    local value, found = asked('GETRANGE', key, '0', '1023'), 0
    if type(value) ~= 'string' or #value < 100 or string.byte(value) ~= 51 then return 0 end
    local token, fixed, free = struct.unpack('>HI4I4', value, 51)
    local place = 101 + token
    local stop = math.min(place + fixed + free, #value)
    while place < stop do
        found, place = found + 1, place + 2 + struct.unpack('>H', value, place)
    end
    return found
end

local bytes = weight(KEYS[2]) > 0 and 0
if bytes then
    for _, name in ipairs({'t', 'x', 'f'}) do bytes = bytes + weight(KEYS[1] .. name) end
    for _, status in ipairs({'pending', 'running', 'retrying', 'success', 'failed', 'cancelled'}) do
        local index = KEYS[1] .. 'i:' .. status .. ':'
        local count = asked('ZCARD', index) or 0
        local some = count > 0 and asked('ZRANDMEMBER', index, ARGV[1]) or {}
        local listed, weighed = weight(index), 0
        for _, entry in ipairs(some) do
            local id = string.sub(entry, 9)
            weighed = weighed + weight(KEYS[1] .. 'r:' .. id) + weight(KEYS[1] .. 'h:' .. id)
            weighed = weighed + facets(KEYS[1] .. 'r:' .. id) * listed / count
        end
        bytes = bytes + listed + (#some > 0 and weighed * count / #some or 0)
    end
    bytes = string.format('%.0f', bytes)
end
return {asked('GET', KEYS[2]), asked('INFO'), asked('TIME'), bytes}
