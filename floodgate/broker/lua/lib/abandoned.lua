-- Tasks that wait for a gateway that is gone: reap frees their slots without a claim.
--- @include lib/presence

-- Once per gateway, when its presence ends. What is missed, or goes back to a queue later, claim drops. An id is
-- `<route>.<gateway><serial>`, so most ids are told apart without reading a task. Returns whether there is more.
local function drop_abandoned(now, since, batch)
  local key = P .. 'gateways'
  call('ZREMRANGEBYSCORE', key, '-inf', now - 7200000) -- no deadline is further ahead
  for _, name in ipairs(call('ZRANGEBYSCORE', key, now + 60001, '+inf')) do call('ZADD', key, now + 60000, name) end
  if in_lease_grace(now) then return false end
  local names, dropped = call('ZRANGEBYSCORE', key, since > now and '-inf' or '(' .. since, now), 0
  local function drop_from(queue)
    for _, id in ipairs(dropped < batch and call('ZRANGE', queue, 0, -1) or {}) do
      if dropped >= batch then return end
      for _, name in ipairs(names) do
        local t = string.find(id, name, 1, true) and load_task(id)
        if t and is_abandoned(id, t, now) and call('ZREM', queue, id) == 1 then
          finish_as(id, t, 'dropped', false)
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
  if dropped < batch then call('HSET', P .. 'reap', 'dropped_at', now) end
  return dropped >= batch
end
