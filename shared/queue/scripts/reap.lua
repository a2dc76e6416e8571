-- Purpose: once a second, whoever comes first: ended leases, due slots, strays, ended registrations, missing batons.
-- KEYS: prefix. ARGV: lease_ms period_ms gap_ms batch. Returns: {now, ran, ended, expired, strays, garbage, more}
-- Invariant: mercy: when the last reap is longer ago than gap_ms, in either direction, no lease ends for one lease length.
local now, lease_ms, batch = clock(), tonumber(ARGV[1]), tonumber(ARGV[4])
heal_all()
local r = call('HMGET', P .. 'reap', 'last', 'until')
local last, mercy = num(r[1]), num(r[2]) or 0
if last and now >= last and now - last < tonumber(ARGV[2]) then return { now, 0, 0, 0, 0, garbage, 0 } end
if not last or now < last or now - last > tonumber(ARGV[3]) then mercy = now + lease_ms end
if mercy > now + lease_ms then mercy = now + lease_ms end
call('HSET', P .. 'reap', 'last', now, 'until', mercy)
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
  for _, lease in ipairs(call('ZRANGEBYSCORE', running, now + 2 * lease_ms, '+inf', 'LIMIT', 0, batch)) do
    call('ZADD', running, 'XX', now + lease_ms, lease)
  end
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
    elseif call('ZREM', P .. 'waiting:' .. t.lane, id) + call('ZREM', parked, id) > 0 then
      finish_as(id, t, 'expired')
      expired = expired + 1
    else
      finish_as(id, t, 'lost')
      strays = strays + 1
    end
  end
end
put_all_away()
promote()
sweep_lanes(now, lease_ms)
mend_holders(now, routes)
if more == 1 then call('HSET', P .. 'reap', 'last', now - tonumber(ARGV[2])) end
send()
lay()
return { now, 1, ended, expired, strays, garbage, more }
