-- A run ended without an answer, and its lease is already out of `running`: its task waits again, or ends.
--- @include lib/promotion
--- @include lib/runs
--- @include lib/dead_letters

-- `counted`: the handler may have started, so this was an attempt. A POST has one, and so never starts twice.
local function requeue(id, lease, counted, now)
  local t = load_task(id)
  if not t then
    malformed = malformed + 1
    if counted then settle_record(id, cmsgpack.pack({ 2, id, 'lost' }), true, reply) end
    finish(id, route_of(id))
    return
  end
  local record = attempts_of(id)
  if counted and record ~= CANCELLED then
    local consumer = string.sub(string.match(lease, '^[^#]*'), 1, 128)
    record = used_in(record) + 1 .. ' ' .. string.match(workers_in(record) .. ' ' .. consumer, '^ ?(.*)')
  end
  if record == CANCELLED then finish(id, t.route, t.flow)
  elseif t.deadline <= now then finish_as(id, t, 'expired', used_in(record) > 0)
  elseif used_in(record) >= t.attempts then
    bury(id, t, record, now)
    finish_as(id, t, 'lost', true)
  elseif not call('ZSCORE', P .. 'slots:' .. t.route, id) then finish(id, t.route, t.flow)
  else
    if counted then set_attempts(id, record) end
    call('ZADD', P .. 'waiting:' .. t.lane, num(call('ZSCORE', P .. 'clock:' .. pool_of(t.lane), '')) or 0, id)
    call('SADD', P .. 'lanes', t.lane) -- if nobody serves it any more, reap has forgotten it
    touched[t.lane] = true
  end
end
