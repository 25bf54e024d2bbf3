-- ARGV: how many entries at most, "1" for the order of bytes or "" for the reverse, bounds, then names of
-- sorted sets. Returns the entries of each.
local found = {}
for place = 5, #ARGV do
    local key = KEYS[1] .. ARGV[place]
    if ARGV[2] == '1' then
        found[place - 4] = redis.call('ZRANGEBYLEX', key, ARGV[3], ARGV[4], 'LIMIT', '0', ARGV[1])
    else
        found[place - 4] = redis.call('ZREVRANGEBYLEX', key, ARGV[4], ARGV[3], 'LIMIT', '0', ARGV[1])
    end
end
return found
