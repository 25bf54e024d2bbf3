-- Returns the number of records in each of STATUSES.
local counts = {}
for number, status in ipairs(STATUSES) do counts[number] = redis.call('ZCARD', index_key(status, '')) end
return counts
