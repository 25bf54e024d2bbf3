-- ARGV: about how many bytes to return at most, then ids. Returns what format 2 has of the first of them, at
-- least of one: record, transitions, data and checkpoints; false for none.
local found, left = {}, tonumber(ARGV[1])
local function read(...)
    local reply = redis.pcall(...)
    return not (type(reply) == 'table' and reply.err) and reply
end

local function read_all(command, key, ...)
    local parts = read(command, key, ...)
    for _, part in ipairs(parts or {}) do left = left - #part end
    return parts
end

for place = 2, #ARGV do
    local id = ARGV[place]
    local key = KEYS[1] .. 'r:' .. id
    left = left - (read('STRLEN', key) or 0) - 100 * (read('LLEN', KEYS[1] .. 'h:' .. id) or 0)
    if place > 2 and left < 0 then break end
    found[place - 1] = {read('GET', key), read_all('LRANGE', KEYS[1] .. 'h:' .. id, '0', '-1'),
                        read_all('HGETALL', KEYS[1] .. 'e:data:' .. id),
                        read_all('HGETALL', KEYS[1] .. 'e:checkpoint:' .. id)}
end
return found
