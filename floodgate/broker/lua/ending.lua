-- Joined before every script that may end a task: parse, finish, reply.
-- blob: 13 digits deadline, msgpack {route, lane, inbox, tries, flow, weight, budget_ms}, body
-- inbox: a gateway process, or '=<ttl_s>=<process or nothing>': the reply is kept under `result:` as well. A process with a
-- presence is told only that it is kept: it may be large, and usually nobody waits for it any more. One of an earlier
-- release, which has none, would not understand that.
local function parse(blob)
  local at = blob and string.match(blob, '^%d%d%d%d%d%d%d%d%d%d%d%d%d')
  if not at then return nil end
  local ok, _, h = pcall(cmsgpack.unpack_one, blob, 13)
  if not ok or type(h) ~= 'table' then return nil end
  for i = 1, 7 do
    if type(h[i]) ~= ((i == 4 or i > 5) and 'number' or 'string') then return nil end
  end
  return { deadline = tonumber(at), route = h[1], lane = h[2], inbox = h[3], tries = h[4], flow = h[5], weight = math.max(1, h[6]), budget = h[7] }
end
local function load(id) return parse(call('HGET', P .. 'tasks', id)) end
-- tries used, or 'x': nobody waits any more. Usually nobody has a mark, and one look spares two calls per task.
local marked = call('EXISTS', P .. 'marks') == 1
local function mark_of(id) return marked and call('HGET', P .. 'marks', id) end
local function put_mark(id, mark)
  marked = true
  call('HSET', P .. 'marks', id, mark)
end
-- every script knows a task's route from its id, readable or not
local function route_of(id) return string.match(id, '^([^.]*)%.') or '' end
local boxes, freed = {}, {}
-- `results` has the bytes of what is kept, by the minute in which it ends: constant work, however many there are.
local function keep(id, bytes, ttl)
  local result, key = P .. 'result:' .. id, P .. 'results'
  if redis.pcall('SET', result, bytes, 'EX', ttl).err then return end
  local minute = minute_of(call('PEXPIRETIME', result))
  if on_loose('HINCRBY', key, minute, #bytes) ~= #bytes then return end
  local time = clock()
  for _, other in ipairs(call('HKEYS', key)) do -- once a minute: what has ended goes
    if (num(other) or 0) * 60000 <= time then call('HDEL', key, other) end
  end
  if call('PEXPIRETIME', key) < minute * 60000 then call('PEXPIREAT', key, string.format('%d', minute * 60000)) end
end
local function reply(inbox, bytes, id)
  local ttl, box = string.match(inbox, '^=(%d+)=(.*)$')
  if ttl then keep(id, bytes, ttl) end
  if box == '' then return end
  if ttl and type(redis.pcall('ZSCORE', P .. 'gateways', box)) == 'string' then bytes = cmsgpack.pack({ 2, id, 'kept' }) end
  inbox = box or inbox
  local b = boxes[inbox] or { P .. 'inbox:' .. inbox, '*' }
  b[#b + 1] = 'r'
  b[#b + 1] = bytes
  boxes[inbox] = b
end
local function send()
  for _, b in pairs(boxes) do
    for i = 3, #b, 1000 do redis.pcall('XADD', b[1], b[2], unpack(b, i, math.min(#b, i + 999))) end
    redis.pcall('EXPIRE', b[1], 60)
  end
end
-- The only place where a slot is freed: true exactly once per task. The slot goes last: what a crash leaves without
-- one, nobody would ever find.
local function finish(id, route, flow)
  local held = held_by(flow or '')
  if held then on_loose('ZREM', held, id) end
  freed[route] = true
  call('HDEL', P .. 'tasks', id)
  if marked then call('HDEL', P .. 'marks', id) end
  return call('ZREM', P .. 'slots:' .. route, id) == 1
end
local function finish_as(id, t, outcome)
  if finish(id, t.route, t.flow) then reply(t.inbox, cmsgpack.pack({ 2, id, outcome }), id) end
end
