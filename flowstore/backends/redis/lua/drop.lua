-- Removes what is left of a namespace once all records are. Returns 0, and leaves its format, if others have stored some
-- since, else 1.
if refusal and not was_done then return refusal end
local prefix, statuses = KEYS[1], {'pending', 'running', 'retrying', 'success', 'failed', 'cancelled'}
local indexes, rest = {}, {}
for at, status in ipairs(statuses) do indexes[at] = prefix .. 'i:' .. status .. ':' end
for _, section in ipairs({'data', 'worker', 'app'}) do
    for _, kind in ipairs({'e:', 'k:'}) do rest[#rest + 1] = prefix .. kind .. section .. ':' end
end
local is_empty = redis.call('EXISTS', unpack(indexes)) == 0
if is_empty then
    for _, name in ipairs({'x', 't', 'f', 'g', 'format'}) do rest[#rest + 1] = prefix .. name end
end
redis.call('UNLINK', unpack(rest))
return answer(is_empty and 1 or 0)
