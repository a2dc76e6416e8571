-- Joined before every script. KEYS[1] is the prefix with the hash tag; every key is built from it.
-- Rule: whatever may leave a lane non-empty puts it into `touched` and ends with lay().
local call, P, touched, garbage = redis.call, KEYS[1], {}, 0
local function clock()
  local t = call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end
-- A number as the scripts write them, or nil: anything else is garbage, and NaN or inf would spread.
local function num(text)
  local n = tonumber(text or '')
  return n and n >= 0 and n < 1e15 and n or nil
end
-- The minute in which something ends, as a field's name.
local function minute_of(ends) return string.format('%d', math.ceil(ends / 60000)) end
local function pool(lane) return string.match(lane, '^(.*):[^:]*$') or lane end
-- flow: <route>|<weight>|<tenant>, and |~ where nobody waits on a connection. A tenant's tasks, with their deadlines.
local function held_by(flow)
  local route, tenant = string.match(flow, '^([^|]*)|[^|]*|([^|]+)')
  return route and P .. 'held:' .. route .. '|' .. tenant or nil
end
-- The finish tags of a kind's tenants; all others have theirs in the pool's clock.
local function turns_of(lane, route, weight) return P .. 'turns:' .. pool(lane) .. '|' .. route .. '|' .. weight end
-- Nobody walks these keys: what has another type is dropped where it is met, or it would fail every batch it is in.
local function on_loose(command, key, ...)
  local n = redis.pcall(command, key, ...)
  if type(n) == 'number' then return n end
  garbage = garbage + call('DEL', key)
  return 0
end
-- Figures of tasks that nobody waits for on a connection are kept apart.
local function field(flow, name) return string.sub(flow, -2) == '|~' and '~' .. name or name end
-- What a queue has shown is kept while it stands, and forgotten over ten seconds without one: else a time in which
-- nothing was answered would turn away, for ever, all who would have to wait, and nobody could show that it is over.
local function remembered(at, mark) return math.exp(-math.max(0, mark - (at or mark)) / 10000) end
-- What is in the system, save 202s whose lane nobody serves: those neither run nor wait, and take nobody's place.
local function in_line(route) return call('ZCARD', P .. 'slots:' .. route) - call('ZCARD', P .. 'stranded:' .. route) end
-- Invariant: after lay(), a lane with work has exactly one baton.
local function lay()
  for lane in pairs(touched) do
    if call('LLEN', P .. 'wake:' .. lane) == 0 and call('ZCARD', P .. 'waiting:' .. lane) > 0 then
      call('RPUSH', P .. 'wake:' .. lane, '1')
    end
  end
end
-- A claimer's name is its process, its group and its places, and a lease's begins with it: those of a group serve the same
-- lanes. What each of them runs stands in one hash; of those that serve nothing any more, under `left`.
local function file_of(name) return P .. 'holders:' .. (string.match(name, '^[^-.#]*([^#]+)%.%d+') or 'left') end
