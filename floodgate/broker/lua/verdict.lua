-- Joined before admit: may a request come in? Who is served before others is judged by its own turns, not by the queue.
local UNDECLARED = 8 -- the weight of a route without priorities; above it is `critical`
-- How many places come free before its turn, as things stand: for what waits with no larger tag, and what just came in.
local function place_of(k)
  local f, d = flow_of(k), k.door
  local tag = string.format('%.17g', math.max(f.virtual, f.finish))
  local first = call('ZCOUNT', P .. 'waiting:' .. k.lane, '-inf', tag) + (d.most and call('ZCOUNT', P .. 'parked:' .. k.route, '-inf', tag) or 0)
  return math.min(k.ahead, first + d.waiting - d.found + 1 - k.free)
end
-- At most, for a tenant: everybody else takes a turn for each of its own, if so many wait.
local function overtaken(k)
  local f = flow_of(k)
  local own = math.min(helds[k.keep], math.max(0, f.finish - f.virtual) / f.step)
  return own + 1 + own * math.min(f.sharers - 1, k.door.waiting)
end
-- codes as admit returns them; nil: may come in
local function turned_away(k, deadline)
  local d = k.door
  k.ahead = d.waiting + 1 - k.free
  if k.ahead > 0 and not k.usual then bound_pace(k) end
  if deadline <= now then return 3 end
  if k.keep and helds[k.keep] >= 0.75 * k.share * d.limit then return 5 end
  if d.slots >= k.share * d.limit then return 4 end
  if k.ahead <= 0 or d.slots == 0 and (k.most or 1e15) * k.budget >= 1 then return end
  local too_long = k.ahead > k.share * k.allowed * k.rate
  if k.keep and flow_of(k).sharers > 1 then
    local third, at_most = k.share * k.third * k.rate, overtaken(k)
    k.ahead = place_of(k)
    if k.ahead > third then return 3 end
    if at_most > 2.4 * third then
      k.ahead = at_most
      return 5
    end
    -- tags are compared within a class: of what the higher ones take, only the whole queue tells
    if k.share == 1 then return end
  elseif k.weight > UNDECLARED then
    k.ahead = place_of(k)
    too_long = k.ahead > k.share * k.allowed * k.rate
  end
  if too_long then return 3 end
end
