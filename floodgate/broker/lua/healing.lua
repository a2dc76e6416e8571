-- Joined before reap: garbage in the place of keys, before anything else is touched.
-- A key of the wrong type would make every script fail for ever: it is garbage, drop it.
local function heal(key, kind)
  local is = call('TYPE', P .. key).ok
  if is ~= 'none' and is ~= kind then
    call('DEL', P .. key)
    garbage = garbage + 1
  end
end
local function heal_all()
  for key, kind in pairs({ reap = 'hash', tasks = 'hash', marks = 'hash', places = 'hash', contracts = 'hash', routes = 'set', lanes = 'set', dead = 'stream', gateways = 'zset', unserved = 'zset', results = 'hash' }) do heal(key, kind) end
  for _, lane in ipairs(call('SMEMBERS', P .. 'lanes')) do
    for _, name in ipairs({ 'serving:', 'waiting:' }) do heal(name .. lane, 'zset') end
    heal('wake:' .. lane, 'list')
    heal('clock:' .. pool(lane), 'zset')
  end
end
local function heal_route(route)
  for _, name in ipairs({ 'running:', 'slots:', 'parked:', 'stranded:' }) do heal(name .. route, 'zset') end
  heal('figures:' .. route, 'hash')
  local parked, slots = P .. 'parked:' .. route, P .. 'slots:' .. route
  -- what is parked has a slot and does not run; anything else there would let too many run
  if call('ZCARD', parked) + call('ZCARD', P .. 'running:' .. route) > in_line(route) then
    for _, id in ipairs(call('ZDIFF', 2, parked, slots)) do garbage = garbage + call('ZREM', parked, id) end
  end
end
