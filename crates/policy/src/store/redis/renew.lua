-- Renews leases. KEYS: the count of each. ARGV: the length of a lease in milliseconds, then the leases.
-- One that is not there any more does not come back: its call may have ended meanwhile.
local time = redis.call('TIME')
local until_ms = time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[1]
for i, key in ipairs(KEYS) do
  redis.call('ZADD', key, 'XX', string.format('%.0f', until_ms), ARGV[i + 1])
  redis.call('PEXPIRE', key, ARGV[1] * 2)
end
return 0
