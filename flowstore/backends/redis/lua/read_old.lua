-- ARGV: ids. Returns what format 2 has of each: record, transitions, data and checkpoints; false for none.
local found = {}
local function read(...)
    local reply = redis.pcall(...)
    return not (type(reply) == 'table' and reply.err) and reply
end
for place, id in ipairs(ARGV) do
    found[place] = {read('GET', KEYS[1] .. 'r:' .. id), read('LRANGE', KEYS[1] .. 'h:' .. id, '0', '-1'),
                    read('HGETALL', KEYS[1] .. 'e:data:' .. id), read('HGETALL', KEYS[1] .. 'e:checkpoint:' .. id)}
end
return found
