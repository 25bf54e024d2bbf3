-- KEYS: prefix of the namespace, then lines. ARGV: for how many milliseconds a line is kept, then a number for
-- each. Calls of these lines with lower numbers, which may still be on their way, are refused from now on. The
-- first write is one that a full server allows, and with it all others.
for place = 2, #KEYS do
    redis.call('PEXPIRE', KEYS[place], ARGV[1])
    local before = redis.pcall('GET', KEYS[place])
    local last = type(before) == 'string' and tonumber(string.match(before, '^%d+')) or -1
    if last < tonumber(ARGV[place]) then redis.call('SET', KEYS[place], ARGV[place], 'PX', ARGV[1]) end
end
return 1
