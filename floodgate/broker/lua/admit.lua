-- Purpose: for each request refuse at once, or take a slot, tag and enqueue. Never sent twice: not idempotent.
-- KEYS: prefix. ARGV: valid_until, number of kinds, per kind: route lane flow weight share(0-1000) budget_ms missed;
--   per request: number of its kind, deadline id blob. missed: refusals of the route from memory since the last call
-- Returns: {now, stale, garbage, then per request: code, predicted wait_ms, remember_ms, retry_after_ms}; stale: past valid_until, nothing changed
--   codes: 0 admitted, 1 paused, 2 no worker, 3 too late, 4 full, 5 over the tenant's share
-- Invariant: ZCARD slots <= limit. Order of writes: slots, tasks, held, turns, waiting, clock, baton: a crash leaves a slot until its deadline.
if now > tonumber(ARGV[1]) then return { now, 1, 0 } end
local out, kinds, first = { now, 0, 0 }, {}, 3 + 7 * tonumber(ARGV[2])
for i = 3, first - 1, 7 do
  local k = { route = ARGV[i], lane = ARGV[i + 1], flow = ARGV[i + 2], weight = tonumber(ARGV[i + 3]), share = tonumber(ARGV[i + 4]) / 1000, budget = tonumber(ARGV[i + 5]) }
  meet(k)
  local d = k.door
  if d.limit == 0 then k.closed = 1 elseif not d.limit or not lanes[k.lane].live then k.closed = 2 else size_up(k) end
  if ARGV[i + 6] ~= '0' then d.missed, d.news = d.missed + tonumber(ARGV[i + 6]), true end
  kinds[#kinds + 1] = k
end
for i = first, #ARGV, 4 do
  local k, deadline, id = kinds[tonumber(ARGV[i])], tonumber(ARGV[i + 1]), ARGV[i + 2]
  local d, code, wait, remember, retry = k.door, k.closed or turned_away(k, deadline), 0, 0, 0
  if not code then
    local parked = d.most and d.unparked >= d.most
    add('slots', P .. 'slots:' .. k.route, deadline, id)
    add('waiting', parked and P .. 'parked:' .. k.route or P .. 'waiting:' .. k.lane, tag_of(k), id)
    if k.keep then
      add('held', k.keep, deadline, id)
      helds[k.keep] = helds[k.keep] + 1
    end
    tasks[#tasks + 1], tasks[#tasks + 2] = id, ARGV[i + 3]
    if not parked then touched[k.lane], d.unparked = true, d.most and d.unparked + 1 end
    d.slots, d.waiting, wait = d.slots + 1, d.waiting + 1, math.max(0, math.min(k.budget, k.ahead / k.rate))
    if k.saturated and not d.marks[k.mark] then d.marks[k.mark] = now end
  elseif code >= 3 then
    d.missed, d.news = d.missed + 1, true
    -- what came past its deadline says nothing of those that come in time
    remember = deadline > now and d.waiting > 0 and math.min(250, d.waiting / (5 * k.rate)) or 0
    retry = math.min(60000, (math.max(1, k.ahead) + 2 * d.missed) / (k.usual or k.rate))
  end
  out[#out + 1], out[#out + 2], out[#out + 3], out[#out + 4] = code or 0, wait, remember, retry
end
enter()
note_figures()
out[3] = garbage
return out
