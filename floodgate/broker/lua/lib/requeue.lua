-- A run ended without an answer, and its lease is already out of `running`: its task waits again, or ends.
--- @include lib/promotion
--- @include lib/runs

-- Dead letters are bounded by construction: so many entries, none larger than 16 KiB and its fields.
local LETTER_BYTES = 16384
local function bury(id, used)
  local blob, most = call('HGET', P .. 'tasks', id), num(call('HGET', P .. 'reap', 'dead_entries')) or 780
  local letter = { 'id', id, 'attempts', used, 'blob', string.sub(blob, 1, LETTER_BYTES) }
  if #blob > LETTER_BYTES then letter[7], letter[8] = 'cut', #blob end
  redis.pcall('XADD', P .. 'dead', 'MAXLEN', most, '*', unpack(letter))
  redis.pcall('EXPIRE', P .. 'dead', 604800)
end

-- `counted`: the handler may have started, so this was an attempt. A POST has one, and so never starts twice.
local function requeue(id, counted, now)
  local t = load_task(id)
  if not t then
    malformed = malformed + 1
    if counted then settle_record(id, cmsgpack.pack({ 2, id, 'lost' }), true, reply) end
    finish(id, route_of(id))
    return
  end
  local record = attempts_of(id)
  local used = (num(record) or 0) + (counted and 1 or 0)
  if record == CANCELLED then finish(id, t.route, t.flow)
  elseif t.deadline <= now then finish_as(id, t, 'expired', used > 0)
  elseif used >= t.attempts then
    bury(id, used)
    finish_as(id, t, 'lost', true)
  elseif not call('ZSCORE', P .. 'slots:' .. t.route, id) then finish(id, t.route, t.flow)
  else
    if counted then set_attempts(id, used) end
    call('ZADD', P .. 'waiting:' .. t.lane, num(call('ZSCORE', P .. 'clock:' .. pool_of(t.lane), '')) or 0, id)
    call('SADD', P .. 'lanes', t.lane) -- if nobody serves it any more, reap has forgotten it
    touched[t.lane] = true
  end
end
