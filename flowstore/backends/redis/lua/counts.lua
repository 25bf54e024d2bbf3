-- ARGV: facets, "" for all records. Returns for each the number of records in each status.
local counts = {}
for place, facet in ipairs(ARGV) do
    local of_facet = {}
    for at, status in ipairs({'pending', 'running', 'retrying', 'success', 'failed', 'cancelled'}) do
        of_facet[at] = redis.call('ZCARD', KEYS[1] .. 'i:' .. status .. ':' .. facet)
    end
    counts[place] = of_facet
end
return counts
