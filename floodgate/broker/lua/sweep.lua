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
-- A claimer's name begins with `<process>-<lease_ms>`, a lease's with its claimer's: processes may differ in it.
local function lease_of(name, otherwise)
  local ms = tonumber(string.match(name, '^[^.#]*%-(%d+)%.') or '')
  return ms and math.max(500, math.min(60000, ms)) or otherwise
end
local function leases_of(lease_ms)
  local shortest, longest = lease_ms, lease_ms
  for _, lane in ipairs(call('SMEMBERS', P .. 'lanes')) do
    for _, claimer in ipairs(call('ZRANGE', P .. 'serving:' .. lane, 0, -1)) do
      local own = lease_of(claimer, lease_ms)
      shortest, longest = math.min(shortest, own), math.max(longest, own)
    end
  end
  return shortest, longest
end
-- What was written before the clock stepped back, or garbage, would last too long: its owner never writes two leases.
local function bound(key, now, lease_ms, least)
  local z = call('ZRANGE', key, '+inf', now + least, 'BYSCORE', 'REV', 'LIMIT', 0, 1000, 'WITHSCORES')
  for i = 1, #z, 2 do
    local own = lease_of(z[i], lease_ms)
    if tonumber(z[i + 1]) >= now + 2 * own then call('ZADD', key, 'XX', now + own, z[i]) end
  end
end
-- Nobody could renew: who was registered when that began is given the time to. Who has left is not there any more.
local function sweep_registrations(now, lease_ms, least, interrupted)
  local walked = {}
  for _, lane in ipairs(call('SMEMBERS', P .. 'lanes')) do
    local serving = P .. 'serving:' .. lane
    for _, claimer in ipairs(interrupted and call('ZRANGE', serving, 0, -1) or {}) do
      call('ZADD', serving, 'XX', 'GT', now + 0.6 * lease_of(claimer, lease_ms), claimer)
    end
    call('ZREMRANGEBYSCORE', serving, '-inf', now)
    bound(serving, now, lease_ms, least)
    walked[lane] = true
    recount(lane) -- always: without places the door lets in nobody who would wait
  end
  forget_lanes(walked)
end
-- Once per gateway that is gone, and that slots come free: whatever is missed or goes back later, claim drops. An id is
-- `<route>.<gateway><serial>`. Returns whether there is more.
local function drop_of_the_gone(now, since, batch)
  local key = P .. 'gateways'
  call('ZREMRANGEBYSCORE', key, '-inf', now - 7200000) -- no deadline is further ahead
  for _, name in ipairs(call('ZRANGEBYSCORE', key, now + 60001, '+inf')) do call('ZADD', key, now + 60000, name) end
  if in_grace(now) then return false end
  local names, dropped = call('ZRANGEBYSCORE', key, since > now and '-inf' or '(' .. since, now), 0
  local function drop_from(queue)
    for _, id in ipairs(dropped < batch and call('ZRANGE', queue, 0, -1) or {}) do
      if dropped >= batch then return end
      for _, name in ipairs(names) do
        local t = string.find(id, name, 1, true) and load(id)
        if t and is_for_nobody(id, t, now) and call('ZREM', queue, id) == 1 then
          finish_as(id, t, 'dropped')
          dropped = dropped + 1
        end
      end
    end
  end
  for i, name in ipairs(names) do names[i] = '.' .. name end
  if #names > 0 then
    for _, lane in ipairs(call('SMEMBERS', P .. 'lanes')) do drop_from(P .. 'waiting:' .. lane) end
    for _, route in ipairs(call('SMEMBERS', P .. 'routes')) do drop_from(P .. 'parked:' .. route) end
  end
  if dropped < batch then call('HSET', P .. 'reap', 'dropped', now) end
  return dropped >= batch
end
-- Invariant: what is parked keeps its lane and its place in the turns: without the clock, newcomers would overtake it.
-- What is stranded finds workers by its own contract, so that is kept while a task of its routes is there; no deadline is
-- two hours ahead.
local function sweep_contract(contract, now)
  call('ZADD', P .. 'unserved', 'LT', now, contract)
  local needed = now - call('ZSCORE', P .. 'unserved', contract) < 7200000
  if needed then
    needed = false
    for route in string.gmatch(call('HGET', P .. 'contracts', contract), '([^ =]+)=') do
      needed = needed or call('EXISTS', P .. 'slots:' .. route) == 1
    end
  end
  if needed then return end
  call('HDEL', P .. 'contracts', contract)
  call('ZREM', P .. 'unserved', contract)
end
local function sweep_lanes(now)
  local waiting, served = {}, {}
  for _, lane in ipairs(call('SMEMBERS', P .. 'lanes')) do
    local n = call('ZCARD', P .. 'waiting:' .. lane)
    local claimers = call('ZCARD', P .. 'serving:' .. lane)
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
    if served[contract] then call('ZREM', P .. 'unserved', contract) else sweep_contract(contract, now) end
  end
  -- an older process ends a contract at once
  for _, contract in ipairs(call('ZRANGE', P .. 'unserved', 0, -1)) do
    if call('HEXISTS', P .. 'contracts', contract) == 0 then call('ZREM', P .. 'unserved', contract) end
  end
end
