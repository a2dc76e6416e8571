-- Joined before admit: places that are free, and the pace at which the places of a lane come free, whoever holds them.
-- Of the groups of consumers that serve the lane: a worker with a level limit serves a part of its pool.
local GROUPS = '([^ =]+)=(%d+)'
local MOST = 256 -- runs of a group that are looked at: of more, a random part tells enough
local function consumers_of(lane)
  local p = call('HMGET', P .. 'places', lane, lane .. '|')
  local runs, room = 0, nil
  for group, places in string.gmatch(p[2] or '', GROUPS) do
    local n = call('HLEN', P .. 'holders:' .. group)
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
-- In `places`, as <lane>|pace: when, of how many runs, their pace, when the first is expected to end, each route's part.
local function sum_up(l)
  local pace, first, parts, list = 0, now + 1e9, {}, {}
  for _, s in pairs(look_at(l)) do
    local mean = math.max(1, num(call('HGET', P .. 'figures:' .. s.route, s.mean)) or s.budget)
    pace, first = pace + s.runs / mean, math.min(first, math.floor(s.since + mean))
    parts[s.route] = (parts[s.route] or 0) + s.runs / mean
  end
  for route, part in pairs(parts) do list[#list + 1] = string.format(' %s=%.6g', route, part) end
  l.at, l.summed, l.pace, l.first, l.parts = now, l.runs, tonumber(string.format('%.6g', pace)), first, table.concat(list)
  call('HSET', P .. 'places', l.name .. '|pace', string.format('%d %d %.6g %d%s', l.at, l.summed, l.pace, l.first, l.parts))
end
-- No route is faster than places come free: its own and the free ones at its own mean; those of the others as they end,
-- and not at all if none of them is expected to within the time that it may wait. What was taken since the sum counts
-- as its own. Summed when somebody would have to wait, and not so often that it keeps Redis from its work.
local function bound_pace(k)
  local l = lanes[k.lane]
  k.usual = k.rate
  -- an older process has counted the places, or nobody else runs anything: then the route's own pace says it all
  if not l.room or l.runs <= k.door.running then return end
  if not l.at then
    local at, summed, pace, first, parts = string.match(call('HGET', P .. 'places', l.name .. '|pace') or '', '^(%d+) (%d+) ([^ ]+) (%d+)(.*)$')
    if num(pace) and num(first) then l.at, l.summed, l.pace, l.first, l.parts = num(at), num(summed), num(pace), num(first), parts end
  end
  if not l.at or now < l.at or now - l.at >= 50 + 0.5 * math.min(l.runs, MOST) then sum_up(l) end
  local own = num(string.match(l.parts, ' ' .. k.route .. '=([^ ]+)')) or 0
  local mine = (k.door.running + l.room + math.max(0, l.runs - l.summed)) / k.mean
  local others = math.max(0, l.pace - own)
  k.most = mine + (l.first <= now + k.third and others or 0)
  k.rate = math.max(1e-9, math.min(k.rate, k.most))
  k.usual = math.max(k.rate, math.min(k.usual, mine + others))
end
