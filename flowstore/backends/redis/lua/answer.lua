local function answer(reply)
    redis.call('SET', KEYS[2], ARGV[1] .. ' ' .. cmsgpack.pack(reply), 'PX', ARGV[2])
    return reply
end
