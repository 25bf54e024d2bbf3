-- Returns the names that records without a parent have, and forgets those that none has any more.
for _, name in ipairs(redis.call('SMEMBERS', names_key)) do forget_unused(name) end
return redis.call('SMEMBERS', names_key)
