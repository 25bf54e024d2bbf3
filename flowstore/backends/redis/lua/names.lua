-- Returns the task names of records without a parent, and forgets those that none of them has any more.
for _, name in ipairs(redis.call('SMEMBERS', names_key)) do forget_unused(name) end
return redis.call('SMEMBERS', names_key)
