-- Removes what is left of a namespace once all records are. Returns 0, and leaves its format, if others have stored some
-- since, else 1; 2 if it has to be called again.
if refusal and not was_done then return refusal end
local prefix, statuses = KEYS[1], {'pending', 'running', 'retrying', 'success', 'failed', 'cancelled'}
local indexes, rest = {}, {}
for at, status in ipairs(statuses) do indexes[at] = prefix .. 'i:' .. status .. ':' end
for _, section in ipairs({'data', 'worker', 'app'}) do
    for _, kind in ipairs({'e:', 'k:'}) do rest[#rest + 1] = prefix .. kind .. section .. ':' end
end
local counters = redis.pcall('ZRANGE', prefix .. 's', '0', '999')
if not counters.err and #counters > 0 then
    for _, name in ipairs(counters) do redis.call('UNLINK', prefix .. 's:' .. name) end
    redis.call('ZREM', prefix .. 's', unpack(counters))
    if #counters == 1000 then return answer(2) end
end
for _, name in ipairs({'s', 's:', 'p', 'p:last'}) do rest[#rest + 1] = prefix .. name end
local is_empty = redis.call('EXISTS', unpack(indexes)) == 0
if is_empty then
    for _, name in ipairs({'x', 't', 'f', 'g', 'format'}) do rest[#rest + 1] = prefix .. name end
end
redis.call('UNLINK', unpack(rest))
return answer(is_empty and 1 or 0)
