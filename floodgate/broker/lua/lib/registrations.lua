-- Registrations and leases that end by themselves. Every process has its own lease length: a consumer's name begins
-- with `<process>-<lease_ms>`, and a lease's with its consumer's.
--- @include lib/holders_repair

local function lease_of(name, otherwise)
  local ms = tonumber(string.match(name, '^[^.#]*%-(%d+)%.') or '')
  return ms and math.max(500, math.min(60000, ms)) or otherwise
end
local function leases_of(lease_ms)
  local shortest, longest = lease_ms, lease_ms
  for _, lane in ipairs(call('SMEMBERS', P .. 'lanes')) do
    for _, consumer in ipairs(call('ZRANGE', P .. 'serving:' .. lane, 0, -1)) do
      local own = lease_of(consumer, lease_ms)
      shortest, longest = math.min(shortest, own), math.max(longest, own)
    end
  end
  return shortest, longest
end

-- What was written before the clock stepped back, or is malformed, would last too long: no owner writes two leases.
local function bound(key, now, lease_ms, least)
  local z = call('ZRANGE', key, '+inf', now + least, 'BYSCORE', 'REV', 'LIMIT', 0, 1000, 'WITHSCORES')
  for i = 1, #z, 2 do
    local own = lease_of(z[i], lease_ms)
    if tonumber(z[i + 1]) >= now + 2 * own then call('ZADD', key, 'XX', now + own, z[i]) end
  end
end

-- After an interruption nobody could renew: who was registered when it began is given the time to. Who took leave
-- before is not there any more, so it gets none.
local function sweep_registrations(now, lease_ms, least, interrupted)
  for _, lane in ipairs(call('SMEMBERS', P .. 'lanes')) do
    local serving_key = P .. 'serving:' .. lane
    for _, consumer in ipairs(interrupted and call('ZRANGE', serving_key, 0, -1) or {}) do
      call('ZADD', serving_key, 'XX', 'GT', now + 0.6 * lease_of(consumer, lease_ms), consumer)
    end
    call('ZREMRANGEBYSCORE', serving_key, '-inf', now)
    bound(serving_key, now, lease_ms, least)
    recount(lane) -- always: with a count that is lost, nobody who would have to wait is admitted
  end
end
