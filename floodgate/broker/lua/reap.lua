-- Purpose: once a second, whoever comes first: ended leases, due slots, strays, ended registrations, missing batons.
-- KEYS: prefix. ARGV: lease_ms period_ms batch, most entries of `dead`, the gateway that calls or ''. Returns: {now, ran, ended, expired, strays, garbage, more}
-- Invariant: mercy: when the last reap is longer ago than `gap`, in either direction, no lease ends for one lease length.
local now, lease_ms, batch = clock(), tonumber(ARGV[1]), tonumber(ARGV[3])
heal_all()
if ARGV[5] ~= '' then call('ZADD', P .. 'gateways', now + lease_ms, ARGV[5]) end
local r = call('HMGET', P .. 'reap', 'last', 'until', 'grace', 'dropped')
local last, mercy, grace = num(r[1]), num(r[2]) or 0, num(r[3]) or 0
if last and now >= last and now - last < tonumber(ARGV[2]) then return { now, 0, 0, 0, 0, garbage, 0 } end
-- Half a lease, but two periods in a row may be missed by chance. A registration lasts 0.6 of a lease, so it is in
-- danger sooner, and gets its grace sooner.
-- Where processes differ in their lease, the shortest says what is dangerous, the longest how rarely somebody reaps.
local shortest, longest = leases_of(lease_ms)
local gap = math.floor(math.max(shortest / 2, 2 * math.min(1000, longest / 5)))
local silent = last and now >= last and now - last or 1e15
if silent > gap then mercy = now + longest end
if silent > 0.6 * gap then grace = now + 0.6 * longest end
mercy, grace = math.min(mercy, now + longest), math.min(grace, now + 0.6 * longest)
call('HSET', P .. 'reap', 'last', now, 'until', mercy, 'grace', grace, 'gap', gap, 'dead', ARGV[4])
sweep_registrations(now, lease_ms, 2 * shortest, silent > 0.6 * gap)
local ended, expired, strays, more = 0, 0, 0, 0
local routes = call('SMEMBERS', P .. 'routes')
for _, route in ipairs(routes) do
  local running, slots, parked = P .. 'running:' .. route, P .. 'slots:' .. route, P .. 'parked:' .. route
  heal_route(route)
  if now >= mercy then
    local over = call('ZRANGEBYSCORE', running, '-inf', now, 'LIMIT', 0, batch)
    for _, lease in ipairs(over) do
      local _, id = task_of(lease)
      end_lease(route, lease, id)
      if id then giveback(id, true, now) else garbage = garbage + 1 end
    end
    ended = ended + #over
    if #over >= batch then more = 1 end
  end
  -- a clock that stepped back, or garbage, would make these last for ever; no deadline is two hours ahead
  for _, id in ipairs(call('ZRANGEBYSCORE', slots, now + 7200000, '+inf', 'LIMIT', 0, batch)) do call('ZADD', slots, 'XX', now, id) end
  bound(running, now, lease_ms, 2 * shortest)
  freed[route] = true
  local due, held = call('ZRANGEBYSCORE', slots, '-inf', now, 'LIMIT', 0, batch), nil
  if #due >= batch then more = 1 end
  for _, id in ipairs(due) do
    local t = load(id)
    held = held or held_ids(running)
    if held[id] then look_again(id, t, slots, now + lease_ms)
    elseif not t then
      call('ZREM', parked, id)
      finish(id, route)
      strays = strays + 1
    elseif call('ZREM', P .. 'waiting:' .. t.lane, id) + call('ZREM', parked, id) + call('ZREM', P .. 'stranded:' .. route, t.lane .. '#' .. id) > 0 then
      finish_as(id, t, 'expired')
      expired = expired + 1
    else
      finish_as(id, t, 'lost')
      strays = strays + 1
    end
  end
end
put_all_away()
if drop_of_the_gone(now, num(r[4]) or 0, batch) then more = 1 end
if now >= grace then strand_unserved(batch) end
if bring_home(batch) then more = 1 end
promote()
sweep_lanes(now)
mend_holders(now, routes)
if more == 1 then call('HSET', P .. 'reap', 'last', now - tonumber(ARGV[2])) end
send()
lay()
return { now, 1, ended, expired, strays, garbage, more }
