-- Joined before admit: places that are free, and the pace at which the places of a lane come free, whoever holds them.
-- Of the groups of consumers that serve the lane: a worker with a level limit serves a part of its pool.
local GROUPS = '([^ =]+)=(%d+)'
local MOST = 256 -- runs of a group that are looked at: of more, a random part tells enough
local function consumers_of(lane)
  local p = call('HMGET', P .. 'places', lane, lane .. '|')
  local runs, room = 0, nil
  for group, places in string.gmatch(p[2] or '', GROUPS) do
    local n = on_loose('HLEN', P .. 'holders:' .. group)
    runs, room = runs + n, (room or 0) + math.max(0, places - n)
  end
  return { name = lane, places = num(p[1]) or 0, groups = p[2], runs = runs, room = room }
end
-- What runs there by route and sort of figures: how many, since when at the earliest, with which time-out.
local function look_at(l)
  local sorts = {}
  for group in string.gmatch(l.groups, GROUPS) do
    local file = P .. 'holders:' .. group
    local runs = call('HLEN', file)
    local z = runs > MOST and call('HRANDFIELD', file, MOST, 'WITHVALUES') or call('HGETALL', file)
    for i = 1, #z, 2 do
      local since, budget, sort = string.match(z[i + 1], ' (%d+) (%d+)(~?)$')
      local route = string.match(z[i], '^[^.]*')
      if since then
        local s = sorts[sort .. route] or { route = route, mean = sort .. 'mean', runs = 0, since = now, budget = 0 }
        s.runs, s.since, s.budget = s.runs + math.max(1, runs / MOST), math.min(s.since, tonumber(since)), math.max(s.budget, tonumber(budget))
        sorts[sort .. route] = s
      end
    end
  end
  return sorts
end
-- In `places`, as <lane>|pace: when, of how many runs, and of each route its pace and when its first is expected to end.
local function sum_up(l)
  local parts, list = {}, {}
  for _, s in pairs(look_at(l)) do
    local mean = math.max(1, num(call('HGET', P .. 'figures:' .. s.route, s.mean)) or s.budget)
    local p = parts[s.route] or { pace = 0, first = math.huge }
    p.pace, p.first = p.pace + s.runs / mean, math.min(p.first, math.floor(s.since + mean))
    parts[s.route] = p
  end
  for route, p in pairs(parts) do list[#list + 1] = string.format(' %s=%.6g,%d', route, p.pace, p.first) end
  return string.format('%d %d%s', now, l.runs, table.concat(list))
end
local function read_sum(l, sum)
  local at, runs, rest = string.match(sum, '^(%d+) (%d+)(.*)$')
  l.at, l.summed, l.parts = num(at), num(runs) or 0, {}
  for route, pace, first in string.gmatch(rest or '', ' ([^ =]+)=([^ ,]+),(%d+)') do l.parts[route] = { pace = num(pace) or 0, first = num(first) or 0 } end
end
-- No route is faster than places come free: its own and the free ones at its own mean; those of the others as they end,
-- and not at all if none of them is expected to within the time that it may wait. What was taken since the sum counts
-- as its own. Summed when somebody would have to wait, and not so often that it keeps Redis from its work.
local function bound_pace(k)
  local l = lanes[k.lane]
  k.usual = k.rate
  -- an older process has counted the places, or nobody else runs anything: then the route's own pace says it all
  if not l.room or l.runs <= k.door.running then return end
  if not l.at then read_sum(l, call('HGET', P .. 'places', l.name .. '|pace') or '') end
  if not l.at or now < l.at or now - l.at >= 50 + 0.5 * math.min(l.runs, MOST) then
    local sum = sum_up(l)
    call('HSET', P .. 'places', l.name .. '|pace', sum)
    read_sum(l, sum)
  end
  local mine, others, first = (k.door.running + l.room + math.max(0, l.runs - l.summed)) / k.mean, 0, math.huge
  for route, p in pairs(l.parts) do
    if route ~= k.route then others, first = others + p.pace, math.min(first, p.first) end
  end
  k.most = mine + (first <= now + k.third and others or 0)
  k.rate = math.max(1e-9, math.min(k.rate, k.most))
  k.usual = math.max(k.rate, math.min(k.usual, mine + others))
end
