-- A call has ended. KEYS as taken. ARGV: how ('done', 'nothing': it did nothing, 'given_up': nobody
-- knows), the bytes of its result, then for each key its kind and four values:
--   rate         interval in microseconds, when it was taken
--   concurrency  the lease
--   budget       window in microseconds, the window charged, the cost charged, whether it counts bytes
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local how, bytes = ARGV[1], tonumber(ARGV[2])
local function number(value) return tonumber(value or 0) or 0 end
local function whole(value) return string.format('%.0f', value) end

for i, key in ipairs(KEYS) do
  local at = 3 + (i - 1) * 5
  local kind = ARGV[at]
  if kind == 'concurrency' then
    redis.call('ZREM', key, ARGV[at + 1])
  elseif kind == 'rate' and how == 'nothing' then
    local full_at, busy_since = string.match(redis.call('GET', key) or '', '^(%S+) ?(%S*)')
    full_at, busy_since = number(full_at) - number(ARGV[at + 1]), number(busy_since)
    -- What was taken before is back by itself.
    if number(ARGV[at + 2]) >= busy_since then
      if full_at > now then
        redis.call('SET', key, string.format('%.3f %.0f', full_at, busy_since), 'PX', whole(math.ceil((full_at - now) / 1000) + 1))
      else
        redis.call('DEL', key)
      end
    end
  elseif kind == 'budget' and how ~= 'given_up' then
    local window = number(ARGV[at + 1])
    local current = math.floor(now / window)
    local known = redis.call('HMGET', key, 'window', 'calls', 'bytes', 'cost')
    local is_current = number(known[1]) == current
    local used = {0, 0, 0}
    if is_current then used = {number(known[2]), number(known[3]), number(known[4])} end
    local is_changed = false
    if how == 'nothing' and is_current and number(ARGV[at + 2]) == current then
      used[1] = math.max(used[1] - 1, 0)
      used[3] = math.max(used[3] - number(ARGV[at + 3]), 0)
      is_changed = true
    elseif how == 'done' and bytes > 0 and ARGV[at + 4] == '1' then
      used[2] = used[2] + bytes
      is_changed = true
    end
    if is_changed then
      redis.call('HSET', key, 'window', whole(current), 'calls', whole(used[1]), 'bytes', whole(used[2]), 'cost', whole(used[3]))
      redis.call('PEXPIRE', key, whole(math.ceil(((current + 1) * window - now) / 1000) + 1000))
    end
  end
end
return 0
