#!lua flags=allow-oom
-- Nobody waits for these any more: takes them out of the queue if they wait, has them stopped if they run. Idempotent.
--
-- KEYS[1]  prefix
-- ARGV[1]  mode: 1 = clients left, so stop running ones too; 0 = move waiting ones only; 2 = whoever may has ended it
-- ARGV[i]  id, for each
-- Returns {per id a code}.
--   codes: 0 unknown, 1 removed before it ran, 2 running and notified, 3 removed after an attempt
--
-- A running task keeps its slot until its handler ends. A removed one gives its turn back to its flow. An id that came
-- with an `Idempotency-Key` may be a joiner's. It is taken off the record; the task ends if it waits, and for nobody
-- else. One that runs goes on: its answer is kept. Where a task is moved, those who joined it are told to come again.
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

local function stop(id, t)
  set_attempts(id, CANCELLED)
  local consumer = consumer_of(id, t.lane)
  local ids = consumer and notices[consumer] or {}
  if consumer then ids[#ids + 1], notices[consumer] = id, ids end
end

local function end_waiting(id, t)
  finish(id, t.route, t.flow)
  give_turn_back(t)
end

local mode = ARGV[1]
-- Nobody waits under this name of a record any more, or its task is moved, or ended by whoever may.
local function cancel_keyed(name, id)
  local t = load_task(id)
  if not t then return 0 end
  if mode == '1' and leave_record(name) then return 2 end
  -- a joiner's gateway knows its own lane, and the task may wait in another one
  if mode == '0' and name ~= id and call('ZCARD', P .. 'serving:' .. t.lane) > 0 then return 2 end
  if not remove_waiting(id, t) then
    if mode == '2' then
      settle_record(id, '', true, reply)
      stop(id, t)
    end
    return 2
  end
  local ran = attempts_of(id)
  local bytes = cmsgpack.pack({ 2, id, ran and 'lost' or 'again' })
  leave_record(name)
  if settle_record(id, bytes, ran, reply) and name ~= id then reply(t.inbox, bytes, id) end
  end_waiting(id, t)
  return ran and 3 or 1
end

for i = 2, #ARGV do
  local id, code = ARGV[i], 0
  local keyed = task_of(id)
  local t = not keyed and load_task(id)
  if keyed then code = cancel_keyed(id, keyed)
  elseif t and remove_waiting(id, t) then
    code = attempts_of(id) and 3 or 1
    end_waiting(id, t)
  elseif t and mode == '0' then code = 2
  elseif t then
    stop(id, t)
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
send_replies()
promote()
signal_ready()
return out
