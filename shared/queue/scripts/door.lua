-- Joined before admit: how many more may wait (the rule of overload.md). Times in ms, rates in places per ms.
-- A kind is route, lane, flow and budget; the kinds of a route share its counts, those of a flow's sort its figures.
local function door_of(route)
  local d = doors[route]
  if d then return d end
  local h = call('HMGET', P .. 'figures:' .. route, 'limit', 'override', 'max_running', 'missed', 'missed_at')
  local slots, running = call('ZCARD', P .. 'slots:' .. route), call('ZCARD', P .. 'running:' .. route)
  d = { limit = tonumber(h[2] or '') or tonumber(h[1] or ''), most = tonumber(h[3] or ''), slots = slots, running = running }
  d.waiting = math.max(0, slots - running)
  d.unparked = d.most and slots - call('ZCARD', P .. 'parked:' .. route)
  d.missed, d.news = (tonumber(h[4] or '') or 0) * math.exp(-math.max(0, now - (tonumber(h[5] or '') or now)) / 10000), false
  doors[route] = d
  return d
end
local function sheet_of(route, flow)
  local key = field(flow, route)
  local s = sheets[key]
  if s then return s end
  local h = call('HMGET', P .. 'figures:' .. route, field(flow, 'mean'), field(flow, 'done'), field(flow, 'busy'), field(flow, 'mark'), field(flow, 'since'))
  s = { flow = flow, route = route, mean = tonumber(h[1] or ''), done = tonumber(h[2] or '') or 0, busy = tonumber(h[3] or '') or 0, mark = tonumber(h[4] or ''), since = tonumber(h[5] or '') or now }
  s.marked = s.mark
  if doors[route].waiting == 0 then s.since, s.mark, s.fresh = now, nil, true end
  sheets[key] = s
  return s
end
-- The wait a newcomer sees is its place divided by the pace at which places came free; it may be a third of the slack.
-- Overload, when the queue was not empty for a whole budget: the bound falls as 1/t to two run times.
local function size_up(k)
  local d, s, budget = k.door, k.sheet, k.budget
  local par = math.min(tonumber(call('HGET', P .. 'places', k.lane) or '') or 0, d.most or 1e15)
  k.saturated = call('LLEN', P .. 'wake:' .. k.lane) > 0 or (d.most ~= nil and d.running >= d.most)
  k.free = k.saturated and 0 or math.max(0, par - d.running)
  local mean = math.max(0.1, s.mean or budget / 4)
  local prior = math.max(0, 1 - s.busy / math.max(2000, 4 * mean))
  k.rate = math.max(1e-9, (s.done + prior * par) / math.max(1e-9, s.busy + prior * mean))
  if k.saturated and s.mark then k.rate = math.max(1e-9, math.min(k.rate, par / math.max(1e-9, now - s.mark))) end
  k.allowed = math.max(0, (budget - mean) / 3)
  local full = now - s.since
  if full > budget then k.allowed = math.max(k.allowed * budget / full, math.min(k.allowed, 2 * mean)) end
  k.bound = math.min(k.share * d.limit, par + k.share * k.allowed * k.rate)
  k.held = k.keep and call('ZCOUNT', k.keep, now, '+inf') or 0
end
-- codes as admit returns them; nil: may come in
local function turned_away(k)
  local d = k.door
  k.ahead = d.waiting + 1 - k.free
  if k.keep and k.held >= math.max(1, 0.75 * k.bound) then return 5 end
  if d.slots >= k.share * d.limit then return 4 end
  if k.ahead > 0 and d.slots > 0 and k.ahead > k.share * k.allowed * k.rate then return 3 end
end
