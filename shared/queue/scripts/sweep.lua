-- Joined before reap: what it does per overrun, per lane and per contract.
local function held_ids(running)
  local held = {}
  for _, lease in ipairs(call('ZRANGE', running, 0, -1)) do held[select(2, task_of(lease)) or lease] = true end
  return held
end
-- It overruns its deadline: it keeps its slot, and its tenant holds it.
local function look_again(id, t, slots, at)
  call('ZADD', slots, 'XX', at, id)
  local held = held_by(t and t.flow or '')
  if held then
    on_loose('ZADD', held, at, id)
    call('PEXPIRE', held, 7200000)
  end
end
-- Invariant: what is parked keeps its lane and its place in the turns: without the clock, newcomers would overtake it.
local function sweep_lanes(now, lease_ms)
  local waiting, served = {}, {}
  for _, lane in ipairs(call('SMEMBERS', P .. 'lanes')) do
    call('ZREMRANGEBYSCORE', P .. 'serving:' .. lane, '-inf', now)
    -- a registration made before the clock stepped back would keep a dead claimer alive
    for _, claimer in ipairs(call('ZRANGEBYSCORE', P .. 'serving:' .. lane, now + 2 * lease_ms, '+inf')) do
      call('ZADD', P .. 'serving:' .. lane, 'XX', now + lease_ms, claimer)
    end
    local n = call('ZCARD', P .. 'waiting:' .. lane)
    local claimers = call('ZCARD', P .. 'serving:' .. lane)
    recount(lane) -- always: without places the door lets in nobody who would wait
    waiting[pool(lane)] = (waiting[pool(lane)] or 0) + n
    if claimers > 0 then served[string.match(lane, '^[^:]*')] = true
    elseif n == 0 and not still_parked then
      call('SREM', P .. 'lanes', lane)
      call('DEL', P .. 'wake:' .. lane)
    end
    touched[lane] = true
  end
  for p, n in pairs(waiting) do
    local virtual = call('ZSCORE', P .. 'clock:' .. p, '')
    if n == 0 and not still_parked or virtual and not num(virtual) then call('DEL', P .. 'clock:' .. p)
    elseif virtual then call('ZREMRANGEBYSCORE', P .. 'clock:' .. p, '-inf', '(' .. virtual) end
  end
  for _, contract in ipairs(call('HKEYS', P .. 'contracts')) do
    if not served[contract] then call('HDEL', P .. 'contracts', contract) end
  end
end
