-- Joined before admit: how many more may wait (the rule of overload.md). Times in ms, rates in places per ms.
-- A kind is route, lane, flow, class and budget. The kinds of a route share its counts and `since`; what is measured is
-- kept per sort (does somebody wait on a connection?).
local function measured(k, ...)
  local sort = field(k.flow, '')
  return call('HMGET', P .. 'figures:' .. k.route, sort .. 'mean', sort .. 'done', sort .. 'busy', sort .. 'at', ...)
end
local function open_door(k, h)
  local slots, running = call('ZCARD', P .. 'slots:' .. k.route), call('ZCARD', P .. 'running:' .. k.route)
  local present = in_line(k.route)
  local d = { limit = num(h[6]) or num(h[5]), most = num(h[7]), slots = slots, running = running, waiting = math.max(0, present - running), sheets = {} }
  if d.most and d.most < 1 then d.most = nil end
  d.found = d.waiting
  d.unparked = d.most and present - call('ZCARD', P .. 'parked:' .. k.route)
  d.missed, d.news = (num(h[8]) or 0) * math.exp(-math.max(0, now - (num(h[9]) or now)) / 10000), false
  d.stored = { since = num(h[10]), mark = num(h[11]), ['~mark'] = num(h[12]) }
  d.since, d.marks = math.min(now, d.stored.since or now), { mark = d.stored.mark, ['~mark'] = d.stored['~mark'] }
  if d.waiting == 0 then d.since, d.marks = now, {} end
  return d
end
local function meet(k)
  local h = not doors[k.route] and measured(k, 'limit', 'override', 'max_running', 'missed', 'missed_at', 'since', 'mark', '~mark')
  if h then doors[k.route] = open_door(k, h) end
  k.door, k.mark, k.keep = doors[k.route], field(k.flow, 'mark'), held_by(k.flow)
  h = h or not k.door.sheets[k.mark] and measured(k)
  if h then k.door.sheets[k.mark] = { mean = num(h[1]), done = num(h[2]) or 0, busy = num(h[3]) or 0, at = num(h[4]) } end
  k.sheet = k.door.sheets[k.mark]
  if not lanes[k.lane] then
    local last = call('ZREVRANGE', P .. 'serving:' .. k.lane, 0, 0, 'WITHSCORES')
    local l = consumers_of(k.lane)
    l.live, l.waits = last[2] ~= nil and tonumber(last[2]) > now, call('LLEN', P .. 'wake:' .. k.lane) > 0
    lanes[k.lane] = l
  end
end
-- The wait a newcomer sees is its place divided by the pace at which places came free; it may be a third of the slack.
-- Overload, when the queue was not empty for a whole budget: the bound falls as 1/t to two run times.
local function size_up(k)
  local d, s, budget, mark = k.door, k.sheet, k.budget, k.door.marks[k.mark]
  local l = lanes[k.lane]
  local par = math.min(l.places, d.most or 1e15)
  k.saturated = l.waits or (d.most ~= nil and d.running >= d.most)
  k.free = k.saturated and 0 or math.max(0, math.min(l.room or l.places - d.running, (d.most or 1e15) - d.running))
  local mean = math.max(0.1, s.mean or budget / 4)
  k.mean = mean
  local kept = remembered(s.at, mark or now)
  local done, busy = s.done * kept, s.busy * kept
  local prior = math.max(0, 1 - busy / math.max(2000, 4 * mean))
  k.rate = math.max(1e-9, (done + prior * par) / math.max(1e-9, busy + prior * mean))
  if k.saturated and mark then k.rate = math.max(1e-9, math.min(k.rate, par / math.max(1e-9, now - mark))) end
  k.third = math.max(0, (budget - mean) / 3)
  k.allowed = k.third
  local full = now - d.since
  if full > budget then k.allowed = math.max(k.allowed * budget / full, math.min(k.allowed, 2 * mean)) end
  if k.keep and not helds[k.keep] then helds[k.keep] = on_loose('ZCOUNT', k.keep, now - 10000, '+inf') end
end
