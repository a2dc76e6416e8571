-- Included by every script that may end a task: reading one, its attempts, its answer, its end.
--- @include lib/results
--- @include lib/idempotency

-- A task is 13 digits of deadline, the header {route, lane, inbox, attempts, flow, weight, budget_ms} as msgpack, and
-- the worker's part, which no script reads. Returns nil for anything else.
local function parse(blob)
  local deadline = blob and string.match(blob, '^%d%d%d%d%d%d%d%d%d%d%d%d%d')
  if not deadline then return nil end
  local ok, _, h = pcall(cmsgpack.unpack_one, blob, 13)
  if not ok or type(h) ~= 'table' then return nil end
  for i = 1, 7 do
    if type(h[i]) ~= ((i == 4 or i > 5) and 'number' or 'string') then return nil end
  end
  return {
    deadline = tonumber(deadline), route = h[1], lane = h[2], inbox = h[3],
    attempts = h[4], flow = h[5], weight = math.max(1, h[6]), budget = h[7],
  }
end
local function load_task(id) return parse(call('HGET', P .. 'tasks', id)) end

-- Every script knows a task's route from its id, whether the task can be read or not.
local function route_of(id) return string.match(id, '^([^.]*)%.') or '' end

-- The digest of a route in the text that a release publishes, "<route>=<digest> ...", or nil.
local function digest_in(release, route)
  local text = ' ' .. (release or '')
  local _, at = string.find(text, ' ' .. route .. '=', 1, true)
  return at and string.match(text, '^[^ ]+', at + 1)
end

-- Attempts used and the consumers that were lost with them, "2 <consumer> <consumer>", or CANCELLED. Usually no task
-- has a record, and one look at the key spares two calls per task.
local CANCELLED = 'x'
local function used_in(record) return num(string.match(record or '', '^%d+')) or 0 end
local function workers_in(record) return string.match(record or '', '^%d+ (.*)') or '' end
local any_attempts = call('EXISTS', P .. 'attempts') == 1
local function attempts_of(id) return any_attempts and call('HGET', P .. 'attempts', id) end
local function set_attempts(id, record)
  any_attempts = true
  call('HSET', P .. 'attempts', id, record)
end

-- An inbox is a gateway process, or '=<ttl_s>=<process or nothing>' for a 202, whose reply is kept as a result as well.
-- A process with a presence is told only that it is kept: it may be large, and usually nobody waits for it any more.
local replies = {}
local function reply(inbox, bytes, id)
  local ttl_s, process = string.match(inbox, '^=(%d+)=(.*)$')
  if ttl_s then keep_result(id, bytes, ttl_s) end
  if process == '' then return end
  if ttl_s and type(redis.pcall('ZSCORE', P .. 'gateways', process)) == 'string' then
    bytes = cmsgpack.pack({ 2, id, 'kept' })
  end
  inbox = process or inbox
  local entry = replies[inbox] or { P .. 'inbox:' .. inbox, '*' }
  entry[#entry + 1] = 'r'
  entry[#entry + 1] = bytes
  replies[inbox] = entry
end
local function send_replies()
  for _, entry in pairs(replies) do
    for i = 3, #entry, 1000 do -- Lua's stack bounds what `unpack` returns
      redis.pcall('XADD', entry[1], entry[2], unpack(entry, i, math.min(#entry, i + 999)))
    end
    redis.pcall('EXPIRE', entry[1], 60)
  end
end

-- The only place where a slot is freed: returns true exactly once per task, and only then may it be answered. The slot
-- goes last: reap finds what a crash leaves by its slot, and would never find what has none.
-- A record that is not settled by then belongs to a task that nobody can read: it is lost, if it was ever started.
local freed = {} -- routes of which something ended: what max_running held back may follow
local function finish(id, route, flow)
  local inflight = tenant_key(flow or '')
  if inflight then redis.pcall('ZREM', inflight, id) end
  freed[route] = true
  if record_of(id) then
    local used = attempts_of(id)
    settle_record(id, cmsgpack.pack({ 2, id, 'lost' }), used and used ~= CANCELLED, reply)
  end
  call('HDEL', P .. 'tasks', id)
  if any_attempts then call('HDEL', P .. 'attempts', id) end
  return call('ZREM', P .. 'slots:' .. route, id) == 1
end
-- `ran`: its handler may have started, so that the next request with its key must not start it again.
local function finish_as(id, t, outcome, ran)
  local bytes = cmsgpack.pack({ 2, id, outcome })
  local waits = settle_record(id, bytes, ran, reply)
  if finish(id, t.route, t.flow) and waits then reply(t.inbox, bytes, id) end
end
