-- The first write is one that a full server allows, so this call, which frees memory, is carried out there.
redis.call('PEXPIRE', KEYS[2], ARGV[2])
