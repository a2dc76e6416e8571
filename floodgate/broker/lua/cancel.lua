#!lua flags=allow-oom
-- Nobody waits for these any more: takes them out of the queue if they wait, has them stopped if they run. Idempotent.
--
-- KEYS[1]  prefix
-- ARGV[1]  running: 1 = stop running ones too
-- ARGV[i]  id, for each
-- Returns {per id a code}.
--   codes: 0 unknown, 1 removed before it ran, 2 running and notified, 3 removed after an attempt
--
-- A running task keeps its slot until its handler ends. A removed one gives its turn back to its flow.
--- @include lib/promotion
local out, notices, files = {}, {}, {}

-- If no holder is noted, its consumer hears of the cancellation with its next renewal.
local function consumer_of(id, lane)
  if not files[lane] then
    local groups = call('HGET', P .. 'concurrency', lane .. '|') or ''
    files[lane] = { P .. 'holders:left' }
    for group in string.gmatch(groups, '([^ =]+)=') do table.insert(files[lane], 1, P .. 'holders:' .. group) end
  end
  for _, file in ipairs(files[lane]) do
    local entry = redis.pcall('HGET', file, id)
    if type(entry) == 'string' then return string.match(entry, '^[^ ]+') end
  end
end

local function remove_waiting(id, t)
  return call('ZREM', P .. 'waiting:' .. t.lane, id) + call('ZREM', P .. 'parked:' .. t.route, id)
    + call('ZREM', P .. 'stranded:' .. t.route, t.lane .. '#' .. id) > 0
end

local function give_turn_back(t)
  local turns = tenant_key(t.flow) and turns_key(t.lane, t.route, t.weight) or P .. 'clock:' .. pool_of(t.lane)
  local mean_ms = num(call('HGET', P .. 'statistics:' .. t.route, field(t.flow, 'mean_ms'))) or 10
  redis.pcall('ZADD', turns, 'XX', 'INCR', string.format('%.17g', -math.max(1, mean_ms) / t.weight), t.flow)
end

for i = 2, #ARGV do
  local id, code = ARGV[i], 0
  local t = load_task(id)
  if t and remove_waiting(id, t) then
    code = attempts_of(id) and 3 or 1
    finish(id, t.route, t.flow)
    give_turn_back(t)
  elseif t and ARGV[1] ~= '1' then code = 2
  elseif t then
    set_attempts(id, CANCELLED)
    local consumer = consumer_of(id, t.lane)
    local ids = consumer and notices[consumer] or {}
    if consumer then ids[#ids + 1], notices[consumer] = id, ids end
    code = 2
  end
  out[#out + 1] = code
end
for consumer, ids in pairs(notices) do
  local control = P .. 'control:' .. consumer
  redis.pcall('RPUSH', control, unpack(ids))
  redis.pcall('LTRIM', control, -1000, -1) -- a consumer that is gone reads none of them
  call('EXPIRE', control, 60)
end
promote()
signal_ready()
return out
