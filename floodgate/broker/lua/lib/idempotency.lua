-- What is remembered of an `Idempotency-Key`: who waits for its one run, and afterwards its answer.
--
-- A request with a key has its record's name at the end of its id, `<route>.<name>.<record>`, so every script knows it.
-- `idempotency:<record>` is a hash. While the task is in the system: `task`, `deadline`, `window` (s for which the
-- answer is kept), `retry` (1: a lost run is not kept), and the inbox of everybody who waits, by id. Afterwards
-- `answer`. Always `fingerprint`, and `accepted`: the id of a 202, or ''.
--
-- Invariant: a record that names a task is settled before the task's slot is freed. So one whose task has no slot has
-- lost its answer (an older worker ended it, or a script stopped): it may have run, and is told as lost.
--- @include lib/results
local FIXED, MOST_JOINERS, MOST_OVERRUN_MS = 6, 1000, 7200000
local RECORD_BYTES = 512 -- of a kept record beside its answer
local SHORT_BYTES = 256 -- of an answer without a body

local function record_of(id) return string.match(id, '^[^.]*%.[^.]*%.(.+)$') end
local function record_key(record) return P .. 'idempotency:' .. record end

-- Returns the record while its task is this one: its fields, and who waits, by id.
local function load_record(id)
  local record = record_of(id)
  -- One that is settled may hold a large answer, which is not read here. `pcall`: where it has a wrong type, the
  -- answers of others that are told in the same call are not lost with it.
  if not record or redis.pcall('HGET', record_key(record), 'task') ~= id then return nil end
  local z, r, names = call('HGETALL', record_key(record)), {}, {}
  for i = 1, #z, 2 do
    local fields = string.find(z[i], '.', 1, true) and names or r
    fields[z[i]] = z[i + 1]
  end
  r.key, r.names = record_key(record), names
  return r
end

-- Order of writes: the answer first, since a record that has one is not run again. Only its own fields are left then.
local function keep_answer(r, bytes)
  local window_s = num(r.window) or 86400
  call('HSET', r.key, 'answer', bytes)
  local gone = { r.key, 'task', 'deadline', 'window', 'retry' }
  for name in pairs(r.names) do gone[#gone + 1] = name end
  call('HDEL', unpack(gone))
  call('EXPIRE', r.key, string.format('%d', window_s))
  note_kept('idempotency_bytes', call('PEXPIRETIME', r.key), #bytes + RECORD_BYTES)
end

-- How a task ended that has no body. `pcall`: what a worker sent may be anything.
local function outcome_of(bytes)
  local ok, parts = pcall(cmsgpack.unpack, #bytes <= SHORT_BYTES and bytes or '')
  return ok and type(parts) == 'table' and parts[3] or 'done'
end

-- Settles the record of a task that ends, and tells all who joined it. `keep`: false where it never started, so that
-- the next request with the key is the first. `tell` is `reply` of lib/tasks. Returns whether the one that was admitted
-- is still to be told.
local function settle_record(id, bytes, keep, tell)
  local r = load_record(id)
  if not r then return true end
  local outcome = outcome_of(bytes)
  if r.retry == '1' and (outcome == 'lost' or outcome == 'expired') then keep = false end
  -- a 202 is answered with itself: its result has a place of its own
  if keep then keep_answer(r, r.accepted ~= '' and '' or bytes) else call('DEL', r.key) end
  for name, inbox in pairs(r.names) do
    if name ~= id then tell(inbox, cmsgpack.pack({ 2, name, keep and 'kept' or outcome }), name) end
  end
  return r.names[id] ~= nil or r.accepted ~= ''
end

-- Records of this batch, by key: all is read before anything is written, so that what fails leaves nothing behind.
local fresh = {}
local function join_fresh(f, id, asked, now)
  if f.fingerprint ~= asked.fingerprint then return 'KEY_REUSED' end
  if f.task == id then return 'ADMITTED' end
  if f.accepted ~= '' then return 'ENDED' end
  f.names[#f.names + 1], f.names[#f.names + 2] = id, asked.inbox
  return 'JOINED', math.max(0, f.deadline - now)
end

-- What admission says to a request with a key, and for a joiner how long its task still has; nil: it is the first.
-- What was sent again under its id finds itself.
local function recognize(id, asked, route, now)
  local key = record_key(record_of(id))
  if fresh[key] then return join_fresh(fresh[key], id, asked, now) end
  local r = call('HMGET', key, 'fingerprint', 'task', 'deadline', 'accepted', id)
  local fingerprint, task, deadline, accepted, named = r[1], r[2], r[3], r[4], r[5]
  if fingerprint and fingerprint ~= asked.fingerprint then return 'KEY_REUSED' end
  if task and not call('ZSCORE', P .. 'slots:' .. route, task) then
    settle_record(task, cmsgpack.pack({ 2, task, 'lost' }), true, function() end) -- who joined it, is asked after
    fingerprint, task = call('HGET', key, 'fingerprint'), false
  end
  if not fingerprint then return asked.full and 'KEYS_FULL' or nil end
  if not task then return 'ENDED' end
  if task == id then return 'ADMITTED' end
  if accepted ~= '' then return 'ENDED' end
  if not named then
    if call('HLEN', key) > FIXED + MOST_JOINERS then return 'KEY_IN_USE' end
    call('HSET', key, id, asked.inbox)
  end
  return 'JOINED', math.max(0, (num(deadline) or now) - now)
end
local function remember(id, asked, deadline)
  fresh[record_key(record_of(id))] = {
    task = id, fingerprint = asked.fingerprint, accepted = asked.accepted and id or '', deadline = deadline,
    window = asked.window, retry = asked.retry, names = { id, asked.inbox },
  }
end
-- After the slots, so that none names a task without one, and before anybody can claim the tasks.
local function write_records(now)
  for key, f in pairs(fresh) do
    call('HSET', key, 'fingerprint', f.fingerprint, 'accepted', f.accepted, 'task', f.task, 'deadline', f.deadline,
      'window', f.window, 'retry', f.retry, unpack(f.names))
    call('PEXPIRE', key, string.format('%d', 1000 * f.window + math.max(0, f.deadline - now) + MOST_OVERRUN_MS))
  end
end

-- The task that a name waits for by its record, or nil.
local function task_of(name)
  local record = record_of(name)
  local r = record and redis.pcall('HMGET', record_key(record), 'task', name) or {}
  return r[1] and (r[2] or r[1] == name) and r[1] or nil
end
-- Nobody waits under this name any more. Returns whether others do.
local function leave_record(name)
  local key = record_key(record_of(name))
  call('HDEL', key, name)
  return call('HLEN', key) > FIXED
end
