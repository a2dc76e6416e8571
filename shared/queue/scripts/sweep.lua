-- Joined before reap: what it does per lane and per contract.
-- A key of the wrong type would make every script fail for ever: it is garbage, drop it.
local function heal(key, kind)
  local is = call('TYPE', P .. key).ok
  if is ~= 'none' and is ~= kind then
    call('DEL', P .. key)
    garbage = garbage + 1
  end
end
local function sweep_lanes(now, lease_ms)
  local waiting, served = {}, {}
  for _, lane in ipairs(call('SMEMBERS', P .. 'lanes')) do
    heal('serving:' .. lane, 'zset')
    heal('waiting:' .. lane, 'zset')
    heal('wake:' .. lane, 'list')
    heal('clock:' .. pool(lane), 'zset')
    if call('ZREMRANGEBYSCORE', P .. 'serving:' .. lane, '-inf', now) > 0 then count_places(lane) end
    -- a registration made before the clock stepped back would keep a dead claimer alive
    for _, claimer in ipairs(call('ZRANGEBYSCORE', P .. 'serving:' .. lane, now + 2 * lease_ms, '+inf')) do
      call('ZADD', P .. 'serving:' .. lane, 'XX', now + lease_ms, claimer)
    end
    local n = call('ZCARD', P .. 'waiting:' .. lane)
    local claimers = call('ZCARD', P .. 'serving:' .. lane)
    waiting[pool(lane)] = (waiting[pool(lane)] or 0) + n
    if claimers > 0 then served[string.match(lane, '^[^:]*')] = true
    elseif n == 0 then
      call('SREM', P .. 'lanes', lane)
      call('HDEL', P .. 'places', lane)
      call('DEL', P .. 'wake:' .. lane)
    end
    touched[lane] = true
  end
  for p, n in pairs(waiting) do
    local virtual = call('ZSCORE', P .. 'clock:' .. p, '')
    if n == 0 then call('DEL', P .. 'clock:' .. p)
    elseif virtual then call('ZREMRANGEBYSCORE', P .. 'clock:' .. p, '-inf', '(' .. virtual) end
  end
  for _, contract in ipairs(call('HKEYS', P .. 'contracts')) do
    if not served[contract] then call('HDEL', P .. 'contracts', contract) end
  end
end
