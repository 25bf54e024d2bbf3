-- ARGV: bounds of the register of facets, how many to look at. Returns the last one, or "" at the end, and
-- those that some record has; the others leave the register, if this user may write.
local listed, found = redis.call('ZRANGEBYLEX', KEYS[1] .. 'f', ARGV[1], ARGV[2], 'LIMIT', '0', ARGV[3]), {}
for _, facet in ipairs(listed) do
    local index = KEYS[1] .. 'i:'
    local behind = ':' .. facet
    if redis.call('EXISTS', index .. 'success' .. behind, index .. 'failed' .. behind, index .. 'running' .. behind,
                  index .. 'pending' .. behind, index .. 'retrying' .. behind, index .. 'cancelled' .. behind) > 0 then
        found[#found + 1] = facet
    else
        redis.pcall('ZREM', KEYS[1] .. 'f', facet)
    end
end
return {#listed == tonumber(ARGV[3]) and listed[#listed] or '', found}
