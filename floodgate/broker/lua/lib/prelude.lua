-- Included by every script: names of keys, server time, numbers, and the wake-up marker of a lane.
-- KEYS[1] is the prefix with the hash tag, so every key lies in one Cluster slot; all names are built from it.
-- A key of the wrong type fails a script, and is deleted by `repair`. Redis rolls nothing back, so what is only counted
-- or told (holders, tenants, bytes of results, notices) is written by `redis.pcall` once a lease or a slot is gone: no
-- answer is lost with it.
local call, P = redis.call, KEYS[1]
local malformed = 0 -- what was dropped because no script wrote it; claim and reap say how many
local touched = {} -- lanes that may have work now: whoever adds one ends with signal_ready()

local function server_time()
  local t = call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- A number as the scripts write them, or nil: anything else is malformed, and NaN or inf would spread.
local function num(text)
  local n = tonumber(text or '')
  return n and n >= 0 and n < 1e15 and n or nil
end

-- A lane is <release digest>:<a or s>:<level>; its pool is the lane without its level.
local function pool_of(lane) return string.match(lane, '^(.*):[^:]*$') or lane end

-- A flow is <route>|<weight>|<tenant>, with |~ at its end where nobody waits on a connection.
local function tenant_key(flow)
  local route, tenant = string.match(flow, '^([^|]*)|[^|]*|([^|]+)')
  return route and P .. 'tenant_inflight:' .. route .. '|' .. tenant or nil
end

-- The finish tags of the tenants of a route and weight; those of all other flows are in the pool's clock.
local function turns_key(lane, route, weight) return P .. 'turns:' .. pool_of(lane) .. '|' .. route .. '|' .. weight end

-- A consumer's name is its process, its group and its concurrency, and a lease's name begins with it. Those of a group
-- serve the same lanes, and what they run stands in one hash; of consumers that serve nothing any more, under `left`.
local function holders_key(name) return P .. 'holders:' .. (string.match(name, '^[^-.#]*([^#]+)%.%d+') or 'left') end

-- Statistics of tasks that nobody waits for on a connection are kept apart, in fields that begin with ~.
local function field(flow, name) return string.sub(flow, -2) == '|~' and '~' .. name or name end

-- What a queue has shown counts while the queue stands, and is forgotten over ten seconds without one. Otherwise a time
-- in which nothing was answered would refuse all who would have to wait for ever, and nobody could show it is over.
local function remembered(at, until_ms) return math.exp(-math.max(0, until_ms - (at or until_ms)) / 10000) end

-- What is in the system, save 202s whose lane nobody serves: those neither run nor wait, and take nobody's place.
local function in_system(route)
  return call('ZCARD', P .. 'slots:' .. route) - call('ZCARD', P .. 'stranded:' .. route)
end

-- Invariant: afterwards a touched lane with work has exactly one wake-up marker. A parked consumer takes it by BLPOP
-- and claims next, and that claim comes here again, so work never waits without a marker.
local function signal_ready()
  for lane in pairs(touched) do
    if call('LLEN', P .. 'wake:' .. lane) == 0 and call('ZCARD', P .. 'waiting:' .. lane) > 0 then
      call('RPUSH', P .. 'wake:' .. lane, '1')
    end
  end
end
