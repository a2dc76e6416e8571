-- Purpose: nobody waits for these any more: out of the queue if they wait, told to stop if they run. Idempotent.
-- KEYS: prefix. ARGV: running(1 = tell running ones too), ids. Returns: {now, garbage, then per id 0 unknown, 1 removed before it ran, 2 running and told, 3 removed after a try}
-- Invariant: a running task keeps its slot until its handler ends. A removed one gives its turn back to its flow.
local out, told, files = { clock(), 0 }, {}, {}
-- Who is not found, since an older process took the task, hears of it with the next renewal.
local function holder_of(id, lane)
  if not files[lane] then
    files[lane] = { P .. 'holders:left' }
    for group in string.gmatch(call('HGET', P .. 'places', lane .. '|') or '', '([^ =]+)=') do table.insert(files[lane], 1, P .. 'holders:' .. group) end
  end
  for _, file in ipairs(files[lane]) do
    local entry = redis.pcall('HGET', file, id)
    if type(entry) == 'string' then return string.match(entry, '^[^ ]+') end
  end
end
for i = 2, #ARGV do
  local id, code = ARGV[i], 0
  local t = load(id)
  if t and call('ZREM', P .. 'waiting:' .. t.lane, id) + call('ZREM', P .. 'parked:' .. t.route, id) + call('ZREM', P .. 'stranded:' .. t.route, t.lane .. '#' .. id) > 0 then
    code = mark_of(id) and 3 or 1
    finish(id, t.route, t.flow)
    local turns = held_by(t.flow) and turns_of(t.lane, t.route, t.weight) or P .. 'clock:' .. pool(t.lane)
    local mean = num(call('HGET', P .. 'figures:' .. t.route, field(t.flow, 'mean'))) or 10
    redis.pcall('ZADD', turns, 'XX', 'INCR', string.format('%.17g', -math.max(1, mean) / t.weight), t.flow)
  elseif t and ARGV[1] ~= '1' then code = 2
  elseif t then
    put_mark(id, 'x')
    local holder = holder_of(id, t.lane)
    local ids = holder and told[holder] or {}
    if holder then ids[#ids + 1], told[holder] = id, ids end
    code = 2
  end
  out[#out + 1] = code
end
for claimer, ids in pairs(told) do
  local bell = P .. 'bell:' .. claimer
  on_loose('RPUSH', bell, unpack(ids))
  call('LTRIM', bell, -1000, -1)
  call('EXPIRE', bell, 60)
end
promote()
lay()
out[2] = garbage
return out
