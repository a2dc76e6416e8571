-- Joined before release, join, reap: a run ended without an answer; its lease is already out of `running`.
-- Bounded by construction: so many entries, of which none is larger than 16 KiB and its fields. What is cut says so.
local function bury(id, used)
  local blob, most = call('HGET', P .. 'tasks', id), num(call('HGET', P .. 'reap', 'dead')) or 780
  local letter = { 'id', id, 'tries', used, 'blob', string.sub(blob, 1, 16384) }
  if #blob > 16384 then letter[7], letter[8] = 'cut', #blob end
  redis.pcall('XADD', P .. 'dead', 'MAXLEN', most, '*', unpack(letter))
  redis.pcall('EXPIRE', P .. 'dead', 604800)
end
local function giveback(id, counted, now)
  local t = load(id)
  if not t then
    garbage = garbage + 1
    finish(id, route_of(id))
    return
  end
  local mark = mark_of(id)
  local used = (num(mark) or 0) + (counted and 1 or 0)
  if mark == 'x' then finish(id, t.route, t.flow)
  elseif t.deadline <= now then finish_as(id, t, 'expired')
  elseif used >= t.tries then
    bury(id, used)
    finish_as(id, t, 'lost')
  elseif not call('ZSCORE', P .. 'slots:' .. t.route, id) then finish(id, t.route, t.flow)
  else
    if counted then put_mark(id, used) end
    call('ZADD', P .. 'waiting:' .. t.lane, num(call('ZSCORE', P .. 'clock:' .. pool(t.lane), '')) or 0, id)
    call('SADD', P .. 'lanes', t.lane) -- nobody may serve it any more, and then reap has forgotten it
    touched[t.lane] = true
  end
end
local function task_of(lease) return string.match(lease, '^[^#]*#([^#]*)#(.+)$') end
