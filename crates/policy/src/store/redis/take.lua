-- Takes from all or none. KEYS: a count each. ARGV: whether the call is a continuation, then for each
-- key its kind and five values:
--   rate         interval and capacity in microseconds
--   concurrency  how many, the length of a lease in milliseconds, the lease
--   budget       window in microseconds; calls, bytes, cost (-1: not counted); the call's cost
-- A rate is kept as when all of it is back, and since when something of it has always been taken.
-- Answers {0, when each was taken or of which window}, or {the key that does not suffice, what of it, milliseconds}.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local is_continuation = ARGV[1] == '1'
local function number(value) return tonumber(value or 0) or 0 end
local function whole(value) return string.format('%.0f', value) end

local function rate(key, interval, capacity)
  local full_at, busy_since = string.match(redis.call('GET', key) or '', '^(%S+) ?(%S*)')
  full_at, busy_since = number(full_at), number(busy_since)
  if full_at <= now then busy_since = now end
  full_at = math.min(math.max(full_at, now), now + capacity)
  -- Half a microsecond is lost where such large numbers are kept.
  local missing = full_at + interval - now - capacity
  if missing > 0.5 and not is_continuation then return {1, math.ceil(missing / 1000)} end
  return nil, full_at + interval, busy_since
end

local function concurrency(key, most)
  local now_ms = math.floor(now / 1000)
  local in_flight = redis.call('ZCOUNT', key, '(' .. whole(now_ms), '+inf')
  if in_flight >= most and not is_continuation then return {2, 1000} end
end

local function budget(key, window, calls, bytes, cost, price)
  local current = math.floor(now / window)
  local known = redis.call('HMGET', key, 'window', 'calls', 'bytes', 'cost')
  local used = {0, 0, 0}
  if number(known[1]) == current then used = {number(known[2]), number(known[3]), number(known[4])} end
  if not is_continuation then
    local left = math.ceil(((current + 1) * window - now) / 1000)
    if calls >= 0 and used[1] >= calls then return {3, left} end
    if bytes >= 0 and used[2] >= bytes then return {4, left} end
    if cost >= 0 and used[3] + price > cost then return {5, left} end
  end
  return nil, current, used
end

local found = {}
for i, key in ipairs(KEYS) do
  local at = 2 + (i - 1) * 6
  local kind = ARGV[at]
  local a, b, c, d, e = number(ARGV[at + 1]), number(ARGV[at + 2]), number(ARGV[at + 3]), number(ARGV[at + 4]), number(ARGV[at + 5])
  local short, value, used
  if kind == 'rate' then short, value, used = rate(key, a, b)
  elseif kind == 'concurrency' then short = concurrency(key, a)
  else short, value, used = budget(key, a, b, c, d, e) end
  if short then return {i, short[1], short[2]} end
  found[i] = {value, used}
end

local answer = {0}
for i, key in ipairs(KEYS) do
  local at = 2 + (i - 1) * 6
  local kind = ARGV[at]
  local value, used = found[i][1], found[i][2]
  answer[i + 1] = 0
  if kind == 'rate' then
    answer[i + 1] = now
    if not is_continuation then
      redis.call('SET', key, string.format('%.3f %.0f', value, used), 'PX', whole(math.ceil((value - now) / 1000) + 1))
    end
  elseif kind == 'concurrency' then
    local lease_ms = number(ARGV[at + 2])
    local now_ms = math.floor(now / 1000)
    redis.call('ZREMRANGEBYSCORE', key, '-inf', whole(now_ms))
    redis.call('ZADD', key, whole(now_ms + lease_ms), ARGV[at + 3])
    redis.call('PEXPIRE', key, whole(lease_ms * 2))
  else
    local window = number(ARGV[at + 1])
    answer[i + 1] = value
    if not is_continuation then
      redis.call('HSET', key, 'window', whole(value), 'calls', whole(used[1] + 1), 'bytes', whole(used[2]),
        'cost', whole(used[3] + number(ARGV[at + 5])))
      redis.call('PEXPIRE', key, whole(math.ceil(((value + 1) * window - now) / 1000) + 1000))
    end
  end
end
return answer
