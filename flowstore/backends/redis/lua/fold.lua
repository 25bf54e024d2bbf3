-- The total of a series is what its hours have counted that are over, each once: so they can go, and it stays. Hours are
-- in hashes of a day, see tally.lua. `s:f` is the first day that is not added to the totals as a whole, and half a day more
-- while some hashes of it are added already: those have the field `f`. Totals are in the list of hashes with no time at
-- which they expire, and `s:f` is as well, so that they are removed with the namespace by whoever drops it.
--
-- Adds days before `over`, some thousand counters at most. True once all are. Nothing is of a day before `first` where
-- `s:f` does not say it.
local function fold(first, over)
    local key = prefix .. 's:f'
    local day, series = tonumber(try('GET', key) or nil), {}
    if day and day >= over then return true end
    for _, name in ipairs(try('ZRANGE', prefix .. 's:', '0', '-1') or {}) do
        if string.byte(name) ~= 33 then series[#series + 1] = name end  -- "!": there would be ever more groups
    end
    if #series == 0 and not day then return true end
    day = #series == 0 and over or math.floor(day or first)
    try('ZADD', prefix .. 's', '+inf', 'f')
    local left = 5000
    while day < over do
        for _, name in ipairs(series) do
            local hours = string.format('%ss:h:%.0f:%s', prefix, day, name)
            local fields = try('HEXISTS', hours, 'f') == 0 and call('HGETALL', hours) or {}
            if #fields > 0 then
                call('HSET', hours, 'f', '')
                try('ZADD', prefix .. 's', '+inf', 't:' .. name)
                for at = 1, #fields, 2 do
                    ask('HINCRBY', prefix .. 's:t:' .. name, sub(fields[at], 3), fields[at + 1])
                end
                left = left - #fields
                if left < 0 then
                    call('SET', key, string.format('%.1f', day + 0.5))
                    return false
                end
            end
        end
        day, left = day + 1, left - #series
        if left < 0 then break end
    end
    call('SET', key, string.format('%.0f', day))
    return day >= over
end
