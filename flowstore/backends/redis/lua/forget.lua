-- ARGV: "1" to drop, or "" to look only; then in threes: name of a sorted set, an entry of it, id. Drops the entries
-- whose records are gone or say otherwise, with what is left of the former. Returns for each 1 where the key of the
-- record has another type. This user or server may not be allowed to write, which is no reason to fail a listing:
-- so all is tried.
local foreign, may_drop = {}, ARGV[1] == '1'
for at = 2, #ARGV, 3 do
    local name, member, id = ARGV[at], ARGV[at + 1], ARGV[at + 2]
    local value = redis.pcall('GETRANGE', KEYS[1] .. 'r:' .. id, '0', '50')
    local is_gone, is_other = value == '' or id == '', false
    if type(value) == 'string' and #value == 51 and name ~= 't' then
        local format, status, sort, finish = struct.unpack('>BxxxxxxxxxxxxxxxBxxxxxxxxxc8c8', value)
        local word = string.match(name, '^i:(%l+):')
        local names = {[0] = 'pending', 'running', 'retrying', 'success', 'failed', 'cancelled'}
        local by = string.find(name, '^i:%l+:~') and finish or sort
        is_other = format == 51 and (names[status] ~= word or by .. id ~= member)
    end
    local was_there = may_drop and (is_gone or is_other) and redis.pcall('ZREM', KEYS[1] .. name, member) == 1
    -- The record was not written or removed since it was listed, but by the server: mend.lua finds its other entries.
    if was_there then redis.pcall('HSET', KEYS[1] .. 'g', 'again', '1') end
    if may_drop and is_gone and id ~= '' then
        redis.pcall('UNLINK', KEYS[1] .. 'h:' .. id, KEYS[1] .. 'e:data:' .. id, KEYS[1] .. 'k:data:' .. id,
                    KEYS[1] .. 'e:checkpoint:' .. id, KEYS[1] .. 'k:checkpoint:' .. id)
    end
    foreign[(at + 1) / 3] = type(value) == 'table' and 1 or 0
end
return foreign
