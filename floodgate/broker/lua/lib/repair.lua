-- Malformed keys, before reap touches anything else: one of the wrong type would make every script fail for ever.
--- @include lib/prelude

local function repair(key, kind)
  local is = call('TYPE', P .. key).ok
  if is ~= 'none' and is ~= kind then
    call('DEL', P .. key)
    malformed = malformed + 1
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
local function repair_route(route)
  for _, name in ipairs({ 'running:', 'slots:', 'parked:', 'stranded:' }) do repair(name .. route, 'zset') end
  repair('statistics:' .. route, 'hash')
end
