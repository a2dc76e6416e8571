-- Joined before admit: may a request come in? A tenant among others is judged by its own turns, not by the whole queue.
-- Of a tenant among others; nil: it is alone. First how many places come free before its turn as things stand, then at
-- most: everybody else takes a turn for each of its own, if so many wait.
local function turns_before(k)
  local f, d = flow_of(k), k.door
  if f.sharers < 2 then return nil end
  local tag, entered = string.format('%.17g', math.max(f.virtual, f.finish)), d.waiting - d.found
  local first = call('ZCOUNT', P .. 'waiting:' .. k.lane, '-inf', tag) + (d.most and call('ZCOUNT', P .. 'parked:' .. k.route, '-inf', tag) or 0)
  local own = math.min(helds[k.keep], math.max(0, f.finish - f.virtual) / f.step)
  return math.min(k.ahead, first + entered + 1 - k.free), own + 1 + own * math.min(f.sharers - 1, d.waiting)
end
-- codes as admit returns them; nil: may come in
local function turned_away(k, deadline)
  local d = k.door
  k.ahead = d.waiting + 1 - k.free
  if deadline <= now then return 3 end
  if k.keep and helds[k.keep] >= 0.75 * k.share * d.limit then return 5 end
  if d.slots >= k.share * d.limit then return 4 end
  if k.ahead <= 0 or d.slots == 0 then return end
  local too_long, place, at_most = k.ahead > k.share * k.allowed * k.rate
  if k.keep then place, at_most = turns_before(k) end
  if place then
    k.ahead = place
    if place > k.share * k.third * k.rate then return 3 end
    if at_most > 2.4 * k.share * k.third * k.rate then
      k.ahead = at_most
      return 5
    end
    -- turns are counted within a class: of what the higher ones take, only the whole queue tells
    if k.share == 1 then return end
  end
  if too_long then return 3 end
end
