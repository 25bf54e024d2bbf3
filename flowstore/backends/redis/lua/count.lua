-- ARGV: JSON of the facets whose records to count, id of one more record to count or "".
-- Returns the number for each of STATUSES.
local root = ARGV[2] ~= '' and standing(ARGV[2])
local counts = {}
for number, status in ipairs(STATUSES) do
    counts[number] = root and root ~= CORRUPT and root.status == status and 1 or 0
    for _, facet in ipairs(cjson.decode(ARGV[1])) do
        counts[number] = counts[number] + redis.call('ZCARD', index_key(status, facet))
    end
end
return counts
