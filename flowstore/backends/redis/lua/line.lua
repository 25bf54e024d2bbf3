-- KEYS: prefix of the namespace, line. ARGV: number of the call, for how many milliseconds its line is kept,
-- now as a decimal, the next microsecond as it is stored; then what the script takes.
--
-- The driver sends a call again when its reply was lost, and a copy that was stuck in the network may arrive
-- after its caller has given up. So the line keeps the last number and its answer: the same number gets that
-- answer, a lower one is refused. As this is the first write, a full server refuses the call as a whole.
local before, refusal, was_done = redis.pcall('SET', KEYS[2], ARGV[1], 'PX', ARGV[2], 'GET'), nil, false
if type(before) == 'table' and string.find(before.err, 'WRONGTYPE', 1, true) then  -- somebody else's, no answer
    redis.call('UNLINK', KEYS[2])
    before = redis.pcall('SET', KEYS[2], ARGV[1], 'PX', ARGV[2], 'GET')
end
if type(before) == 'table' then
    refusal = before
    before = redis.pcall('GET', KEYS[2])
end
if type(before) == 'string' then
    local last, at = tonumber(before), nil
    if not last then
        last, at = string.match(before, '^(%d+) ()')
        last = tonumber(last) or -1
    end
    if last >= tonumber(ARGV[1]) then
        if not refusal then redis.call('SET', KEYS[2], before, 'PX', ARGV[2]) end
        if last > tonumber(ARGV[1]) then
            return redis.error_reply('ERR this call comes too late, others followed')
        end
        if at then return cmsgpack.unpack(string.sub(before, at)) end
        was_done = true  -- and has no answer of its own, or did not end
    end
end
