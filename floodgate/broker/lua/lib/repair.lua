-- Malformed keys, before reap touches anything else: one of the wrong type would make every script fail for ever.
--- @include lib/tasks

local function repair(key, kind)
  local is = call('TYPE', P .. key).ok
  if is ~= 'none' and is ~= kind then
    call('DEL', P .. key)
    malformed = malformed + 1
    return true
  end
end
local SINGLE = {
  reap = 'hash', tasks = 'hash', attempts = 'hash', concurrency = 'hash', contracts = 'hash', routes = 'set',
  lanes = 'set', dead = 'stream', gateways = 'zset', unserved = 'zset', results = 'hash',
}
local function repair_all()
  for key, kind in pairs(SINGLE) do repair(key, kind) end
  for _, lane in ipairs(call('SMEMBERS', P .. 'lanes')) do
    for _, name in ipairs({ 'serving:', 'waiting:' }) do repair(name .. lane, 'zset') end
    repair('wake:' .. lane, 'list')
    repair('clock:' .. pool_of(lane), 'zset')
  end
end

-- Invariant: a task has a slot. Without one reap would never come to it, and its record would stay.
local function restore_slots(route)
  for _, id in ipairs(call('HKEYS', P .. 'tasks')) do
    if route_of(id) == route then
      local t = load_task(id)
      call('ZADD', P .. 'slots:' .. route, t and t.deadline or 0, id)
    end
  end
end
local function repair_route(route)
  for _, name in ipairs({ 'running:', 'parked:', 'stranded:' }) do repair(name .. route, 'zset') end
  if repair('slots:' .. route, 'zset') then restore_slots(route) end
  repair('statistics:' .. route, 'hash')
end
