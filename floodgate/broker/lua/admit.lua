#!lua
-- Admission: refuses each request at once, or takes a slot, tags it with its turn, and enqueues it.
-- Never sent twice, since it is not idempotent. Without `allow-oom`: a full Redis refuses it as a whole, while whatever
-- ends or moves a task goes on and makes room.
--
-- KEYS[1]  prefix
-- ARGV[1]  valid_until: past it nothing is changed, since the gateway has given this call up
-- ARGV[2]  classes: how many follow
-- ARGV[3]  letter: the dead letter that the one request of this call runs again, or ''
-- ARGV[4]  keyed: how many of the requests have an `Idempotency-Key`
-- ARGV[i]  route, for each class: what requests have in common is judged once
-- ARGV[i + 1]  lane
-- ARGV[i + 2]  flow
-- ARGV[i + 3]  weight of its priority
-- ARGV[i + 4]  share of the limit that its priority may fill, in thousandths
-- ARGV[i + 5]  budget_ms
-- ARGV[i + 6]  suppressed: refusals of the route that the gateway made from memory since its last call
-- ARGV[k]  request: its number, for each that has a key
-- ARGV[k + 1]  fingerprint of what it asks for
-- ARGV[k + 2]  inbox of its gateway process
-- ARGV[k + 3]  window: seconds for which its answer is kept
-- ARGV[k + 4]  retry: 1 = a run that was lost may be repeated
-- ARGV[k + 5]  accepted: 1 = nobody waits on a connection
-- ARGV[k + 6]  full: 1 = no more answers are kept
-- ARGV[j]  class: number of its class, for each request
-- ARGV[j + 1]  deadline
-- ARGV[j + 2]  id
-- ARGV[j + 3]  task, packed
-- Returns {now, stale, then per request: code, predicted wait_ms, remember_ms, retry_after_ms}.
--   stale: 1 = past valid_until
--   remember_ms: for how long the gateway refuses others of the class without asking
--
-- The rule, in the order in which it is applied: a request waits for its position in the queue divided by the rate at
-- which places come free. It may wait for a third of the time that a run leaves of its budget, since rates err; once a
-- queue has stood for a whole budget (overload), the bound falls as 1/t to two run times. Who is served before others,
-- by tenant or priority, is judged by its own position in the turns. Times are in ms, rates in places per ms.
--- @include lib/idempotency
local CODE = {
  ADMITTED = 0, PAUSED = 1, NO_WORKER = 2, LATE = 3, FULL = 4, SHARE = 5, GONE = 6,
  JOINED = 7, ENDED = 8, KEY_REUSED = 9, KEY_IN_USE = 10, KEYS_FULL = 11,
}
local PER_CLASS, PER_KEYED, PER_REQUEST = 7, 7, 4

local now, valid_until, first_keyed = server_time(), tonumber(ARGV[1]), 5 + PER_CLASS * tonumber(ARGV[2])
local first_request = first_keyed + PER_KEYED * tonumber(ARGV[4])
if now > valid_until then return { now, 1 } end
local letter = ARGV[3]

-- What is read once per route, lane and tenant, and counted on while the batch is judged.
local states, lanes, tenant_inflight = {}, {}, {}
-- What commit() writes, by key.
local writes, tasks = { slots = {}, tenant_inflight = {}, turns = {}, waiting = {}, clock = {} }, { P .. 'tasks' }
local function add(kind, key, score, member)
  local w = writes[kind][key] or { key }
  w[#w + 1], w[#w + 2] = score, member
  writes[kind][key] = w
end

-- 1. The route's counts, the statistics of the class, the lane's consumers ------------------------------------------

-- Statistics are kept per sort: does somebody wait on a connection?
local function read_statistics(class, ...)
  local key, sort = P .. 'statistics:' .. class.route, field(class.flow, '')
  return call('HMGET', key, sort .. 'mean_ms', sort .. 'completed', sort .. 'busy_ms', sort .. 'measured_at',
    sort .. 'head_ms', ...)
end

local LAST_COMPLETIONS = { 'last_completion_at', '~last_completion_at' } -- of both sorts
local function read_route(route, h)
  local slots, running = call('ZCARD', P .. 'slots:' .. route), call('ZCARD', P .. 'running:' .. route)
  local present = in_system(route)
  local state = {
    limit = num(h[7]) or num(h[6]), max_running = num(h[8]), slots = slots, running = running,
    waiting = math.max(0, present - running), statistics = {},
  }
  if state.max_running and state.max_running < 1 then state.max_running = nil end
  state.waiting_before = state.waiting
  state.unparked = state.max_running and present - call('ZCARD', P .. 'parked:' .. route)
  -- refusals of the last ten seconds: a client is told to come back when these had their turn, too
  state.refused, state.changed = (num(h[9]) or 0) * math.exp(-math.max(0, now - (num(h[10]) or now)) / 10000), false
  state.stored = {
    queued_since = num(h[11]), last_completion_at = num(h[12]), ['~last_completion_at'] = num(h[13]),
  }
  state.queued_since = math.min(now, state.stored.queued_since or now)
  state.last_completions = {}
  for _, name in ipairs(LAST_COMPLETIONS) do state.last_completions[name] = state.stored[name] end
  if state.waiting == 0 then state.queued_since, state.last_completions = now, {} end
  return state
end

-- Free places are counted by groups of consumers: a worker with a level limit serves a part of its pool's lanes.
local GROUPS = '([^ =]+)=(%d+)'
local function read_lane(name)
  local counted = call('HMGET', P .. 'concurrency', name, name .. '|')
  local running, free = 0, nil
  for group, concurrency in string.gmatch(counted[2] or '', GROUPS) do
    local n = call('HLEN', P .. 'holders:' .. group)
    running, free = running + n, (free or 0) + math.max(0, concurrency - n)
  end
  local last = call('ZREVRANGE', P .. 'serving:' .. name, 0, 0, 'WITHSCORES')
  return {
    name = name, concurrency = num(counted[1]) or 0, groups = counted[2], running = running, free = free,
    served = last[2] ~= nil and tonumber(last[2]) > now,
    marker = call('LLEN', P .. 'wake:' .. name) > 0, -- nobody has taken it, so every consumer is busy
  }
end

local function load_route(class)
  local h = not states[class.route]
    and read_statistics(class, 'limit', 'override', 'max_running', 'refused', 'refused_at', 'queued_since',
      unpack(LAST_COMPLETIONS))
  if h then states[class.route] = read_route(class.route, h) end
  local state, sort = states[class.route], field(class.flow, 'last_completion_at')
  class.state, class.sort, class.tenant = state, sort, tenant_key(class.flow)
  h = h or not state.statistics[sort] and read_statistics(class)
  if h then
    state.statistics[sort] = {
      mean_ms = num(h[1]), completed = num(h[2]) or 0, busy_ms = num(h[3]) or 0, measured_at = num(h[4]),
      head_ms = num(h[5]),
    }
  end
  class.statistics = state.statistics[sort]
  lanes[class.lane] = lanes[class.lane] or read_lane(class.lane)
end

-- 2. The class's own rate, and how long it may wait -------------------------------------------------------------------

-- The rate is measured while a queue stands. What is expected of all places at the mean run time fades as two seconds,
-- or four run times, of a queue have been seen. While nothing ends, the rate falls with the time since the last
-- completion. A stream is in time when its head is, and holds its place until its end: what may be waited for follows
-- from the time to the head, and the rate from the time of holding.
local function estimate_wait(class)
  local state, statistics, budget_ms = class.state, class.statistics, class.budget_ms
  local last_completion = state.last_completions[class.sort]
  local lane, max_running = lanes[class.lane], class.state.max_running or 1e15
  local most = math.min(lane.concurrency, max_running)
  class.saturated = lane.marker or state.running >= max_running
  local free = math.min(lane.free or lane.concurrency - state.running, max_running - state.running)
  class.free = class.saturated and 0 or math.max(0, free)
  local mean_ms = math.max(0.1, statistics.mean_ms or budget_ms / 4)
  local head_ms = statistics.head_ms or mean_ms
  class.mean_ms = mean_ms
  local kept = remembered(statistics.measured_at, last_completion or now)
  local completed, busy_ms = statistics.completed * kept, statistics.busy_ms * kept
  local prior = math.max(0, 1 - busy_ms / math.max(2000, 4 * mean_ms))
  class.rate = math.max(1e-9, (completed + prior * most) / math.max(1e-9, busy_ms + prior * mean_ms))
  if class.saturated and last_completion then
    class.rate = math.max(1e-9, math.min(class.rate, most / math.max(1e-9, now - last_completion)))
  end
  -- a hair more: rounding must not refuse what fits exactly, as one more task per place does without a sample
  class.third_ms = math.max(0, (budget_ms - head_ms) / 3) * (1 + 1e-9)
  class.max_wait_ms = class.third_ms
  local full = now - state.queued_since
  if full > budget_ms then
    class.max_wait_ms = math.max(class.max_wait_ms * budget_ms / full, math.min(class.max_wait_ms, 2 * mean_ms))
  end
  if class.tenant and not tenant_inflight[class.tenant] then
    tenant_inflight[class.tenant] = call('ZCOUNT', class.tenant, now - 10000, '+inf')
  end
end

-- 3. The rate at which places of the lane come free, whoever holds them -----------------------------------------------

local MOST_RUNS = 256 -- of a group that are looked at: of more, a random part tells enough

-- Calls `look` with route, sort, start and time-out of each run there, and for how many it stands.
local function each_run(lane, look)
  for group in string.gmatch(lane.groups or '', GROUPS) do
    local file = P .. 'holders:' .. group
    local runs = call('HLEN', file)
    local z = runs > MOST_RUNS and call('HRANDFIELD', file, MOST_RUNS, 'WITHVALUES') or call('HGETALL', file)
    for i = 1, #z, 2 do
      local since, budget, sort = string.match(z[i + 1], ' (%d+) (%d+)(~?)$')
      local route = string.match(z[i], '^[^.]*')
      if since then look(route, sort, tonumber(since), tonumber(budget), math.max(1, runs / MOST_RUNS)) end
    end
  end
end

-- What runs there by route and sort: how many, since when at the earliest, with which time-out.
local function read_runs(lane)
  local sorts = {}
  each_run(lane, function(route, sort, since, budget, runs)
    local s = sorts[sort .. route] or { route = route, mean = sort .. 'mean_ms', runs = 0, since = now, budget = 0 }
    s.runs, s.since, s.budget = s.runs + runs, math.min(s.since, since), math.max(s.budget, budget)
    sorts[sort .. route] = s
  end)
  return sorts
end

-- In `concurrency`, as <lane>|rates: when, of how many runs, and of each route its rate and when its first should end.
local function sum_rates(lane)
  local rates, list = {}, {}
  for _, s in pairs(read_runs(lane)) do
    local mean = math.max(1, num(call('HGET', P .. 'statistics:' .. s.route, s.mean)) or s.budget)
    local r = rates[s.route] or { rate = 0, first = math.huge }
    r.rate, r.first = r.rate + s.runs / mean, math.min(r.first, math.floor(s.since + mean))
    rates[s.route] = r
  end
  for route, r in pairs(rates) do list[#list + 1] = string.format(' %s=%.6g,%d', route, r.rate, r.first) end
  return string.format('%d %d%s', now, lane.running, table.concat(list))
end
local function read_sum(lane, sum)
  local at, running, rest = string.match(sum, '^(%d+) (%d+)(.*)$')
  lane.summed_at, lane.summed_running, lane.rates = num(at), num(running) or 0, {}
  for route, rate, first in string.gmatch(rest or '', ' ([^ =]+)=([^ ,]+),(%d+)') do
    lane.rates[route] = { rate = num(rate) or 0, first = num(first) or 0 }
  end
end

-- No route is faster than places come free: its own and the free ones at its own mean; those of the others as they end,
-- and not at all if none of them should end within the time that it may wait. What was taken since the sum counts as
-- its own. Summed only when somebody would have to wait, and not so often that it keeps Redis from its work.
local function bound_rate(class)
  local lane = lanes[class.lane]
  class.usual_rate = class.rate
  -- nobody else runs anything there: the route's own rate says it all
  if not lane.free or lane.running <= class.state.running then return end
  if not lane.summed_at then read_sum(lane, call('HGET', P .. 'concurrency', lane.name .. '|rates') or '') end
  local age = lane.summed_at and now - lane.summed_at
  if not age or age < 0 or age >= 50 + 0.5 * math.min(lane.running, MOST_RUNS) then
    local sum = sum_rates(lane)
    call('HSET', P .. 'concurrency', lane.name .. '|rates', sum)
    read_sum(lane, sum)
  end
  local taken_since = math.max(0, lane.running - lane.summed_running)
  local own, others, first = (class.state.running + lane.free + taken_since) / class.mean_ms, 0, math.huge
  for route, r in pairs(lane.rates) do
    if route ~= class.route then others, first = others + r.rate, math.min(first, r.first) end
  end
  class.pool_rate = own + (first <= now + class.third_ms and others or 0)
  class.rate = math.max(1e-9, math.min(class.rate, class.pool_rate))
  class.usual_rate = math.max(class.rate, math.min(class.usual_rate, own + others))
end

-- A stream may hold its place for longer than anybody may wait for one, and where many began at once, none ends for a
-- while. So of a route that streams no more may wait than should have ended by then; before one has, nobody knows.
local function places_due(class)
  if class.due then return class.due end
  local due, by, means = 0, now + class.third_ms, {}
  each_run(lanes[class.lane], function(route, sort, since, budget, runs)
    local key = sort .. route
    if not means[key] then
      local h = call('HMGET', P .. 'statistics:' .. route, sort .. 'mean_ms', sort .. 'head_ms')
      means[key] = num(h[1]) or num(h[2]) and math.huge or budget
    end
    if since + means[key] <= by then due = due + runs end
  end)
  class.due = class.statistics.mean_ms and due or 0
  return class.due
end

-- A marker that lies there for a moment says of shorter runs that every consumer is busy; here it would refuse whoever
-- comes while places are free, so these are counted.
local function waits_too_long(class, share)
  local lane, state, waits = lanes[class.lane], class.state, class.position
  if class.saturated then
    local free = math.min(lane.free or lane.concurrency - state.running, (state.max_running or 1e15) - state.running)
    free = free - math.max(0, call('ZCARD', P .. 'waiting:' .. class.lane) - state.waiting_before)
    waits = waits - math.max(0, free)
  end
  if waits <= 0 then return false end
  return waits > share * class.max_wait_ms * class.rate or waits > share * places_due(class)
end

-- 4. Whose turn it is: start-time fair queueing -----------------------------------------------------------------------

-- A request's start tag is the later of the pool's virtual time and its flow's finish tag, which then grows by the mean
-- run time divided by the weight. Tenants of a route and weight have their finish tags in a key of their own, where
-- those that asked lately are counted.
local RECENT_TURNS = 10 -- whoever asks for a tenth of its share is counted all the time
local MOST_SHARERS = 10000 -- names may come from outside; who is trimmed is as one that has not asked
local turns = {}

-- A clock begins anew when nothing waits, or is lost, and knows nothing of the tags of before. It may be another route
-- that sees it first, so '' in the key says what virtual time was: it never goes back.
local function read_tenant_turn(class, turn)
  turn.kind, turn.key = 'turns', turns_key(class.lane, class.route, class.weight)
  local long_ago = turn.virtual and string.format('(%.17g', turn.virtual - RECENT_TURNS * turn.step)
  call('ZREMRANGEBYSCORE', turn.key, '-inf', long_ago or '+inf')
  local s = call('ZMSCORE', turn.key, '', turn.flow)
  if turn.virtual and (num(s[1]) or 0) > turn.virtual then
    call('DEL', turn.key)
    s = {}
  end
  local others = call('ZCARD', turn.key) - (s[1] and 1 or 0) - (s[2] and 1 or 0)
  if others > MOST_SHARERS then call('ZPOPMIN', turn.key, others - MOST_SHARERS) end
  if not turn.virtual then add('clock', turn.clock, 0, '') end
  turn.virtual, turn.sharers = turn.virtual or 0, others + 1
  -- it is ahead of virtual time by what it has itself, and by nothing else
  turn.finish = math.min(num(s[2]) or 0, turn.virtual + (tenant_inflight[class.tenant] + 1) * turn.step)
end
local function turn_of(class)
  local clock, flow = P .. 'clock:' .. pool_of(class.lane), class.flow
  local turn = turns[clock .. '\n' .. flow]
  if turn then return turn end
  local step = math.max(1, class.statistics.mean_ms or 10) / class.weight
  turn = { clock = clock, flow = flow, kind = 'clock', key = clock, step = step }
  turns[clock .. '\n' .. flow] = turn
  local s = call('ZMSCORE', clock, '', flow)
  turn.virtual, turn.finish = num(s[1]), num(s[2]) or 0
  if class.tenant then read_tenant_turn(class, turn) end
  turn.virtual = turn.virtual or 0
  return turn
end
local function take_turn(class)
  local turn = turn_of(class)
  local tag = math.max(turn.virtual, turn.finish)
  turn.finish = tag + turn.step
  add(turn.kind, turn.key, turn.finish, turn.flow)
  if turn.sharers then add('turns', turn.key, turn.virtual, '') end
  return tag
end

-- How many places come free before its turn, as things stand: for what waits with no larger tag, and what just came in.
local function position_in_turns(class)
  local turn, state = turn_of(class), class.state
  local tag = string.format('%.17g', math.max(turn.virtual, turn.finish))
  local first = call('ZCOUNT', P .. 'waiting:' .. class.lane, '-inf', tag)
  if state.max_running then first = first + call('ZCOUNT', P .. 'parked:' .. class.route, '-inf', tag) end
  return math.min(class.position, first + state.waiting - state.waiting_before + 1 - class.free)
end
-- At most, for a tenant: everybody else takes a turn for each of its own, if so many wait.
local function worst_position(class)
  local turn = turn_of(class)
  local own = math.min(tenant_inflight[class.tenant], math.max(0, turn.finish - turn.virtual) / turn.step)
  return own + 1 + own * math.min(turn.sharers - 1, class.state.waiting)
end

-- 5. Why a request is refused, or nil ---------------------------------------------------------------------------------

local UNDECLARED_WEIGHT = 8 -- of a route without priorities; above it is `critical`

-- What holds for a whole class, whatever its requests ask for.
local function closed(class)
  local limit = class.state.limit
  if limit == 0 then return CODE.PAUSED end
  if not limit or not lanes[class.lane].served then return CODE.NO_WORKER end
end

local function rejection(class, deadline)
  local state, share = class.state, class.share
  class.position = state.waiting + 1 - class.free
  if class.position > 0 and not class.usual_rate then bound_rate(class) end
  if deadline <= now then return CODE.LATE end
  if class.tenant and tenant_inflight[class.tenant] >= 0.75 * share * state.limit then return CODE.SHARE end
  if state.slots >= share * state.limit then return CODE.FULL end
  -- a free place is given whatever the rule says; whoever finds nobody in the system waits for one that comes in time
  if class.position <= 0 or state.slots == 0 and (class.pool_rate or 1e15) * class.budget_ms >= 1 then return end
  local too_long = class.position > share * class.max_wait_ms * class.rate
  if class.statistics.head_ms then too_long = waits_too_long(class, share) end
  if class.tenant and turn_of(class).sharers > 1 then
    local third, at_most = share * class.third_ms * class.rate, worst_position(class)
    class.position = position_in_turns(class)
    if class.position > third then return CODE.LATE end
    if at_most > 2.4 * third then -- 0.8 of the slack
      class.position = at_most
      return CODE.SHARE
    end
    -- tags are compared within a class: of what the higher ones take, only the whole queue tells
    if share == 1 then return end
  elseif class.weight > UNDECLARED_WEIGHT then
    class.position = position_in_turns(class)
    too_long = class.position > share * class.max_wait_ms * class.rate
  end
  if too_long then return CODE.LATE end
end

-- 6. What is written --------------------------------------------------------------------------------------------------

local function write(kind)
  for _, w in pairs(writes[kind]) do call('ZADD', unpack(w)) end
end
-- Order of writes: slots, tasks, tenants, turns, letter, records, waiting, clock, wake-up marker. Redis does not roll
-- a script back, so a crash at any point leaves at worst a slot that reap frees at its deadline; no task runs without
-- one, or without the record of its key, and none while the letter that it runs again could be admitted once more.
local function commit()
  if #tasks == 1 then return end
  write('slots')
  call('HSET', unpack(tasks))
  for key, w in pairs(writes.tenant_inflight) do -- what a crash left ends by itself: no deadline is two hours ahead
    call('ZADD', unpack(w))
    call('ZREMRANGEBYSCORE', key, '-inf', now - 10000)
    call('PEXPIRE', key, 7200000)
  end
  write('turns')
  for key in pairs(writes.turns) do call('PEXPIRE', key, 7200000) end
  if letter ~= '' then call('XDEL', P .. 'dead', letter) end
  write_records(now)
  write('waiting')
  write('clock')
  -- as signal_ready() does, of lanes that are known to have work now
  for lane in pairs(touched) do
    if not lanes[lane].marker then call('RPUSH', P .. 'wake:' .. lane, '1') end
  end
end
local function note_statistics()
  for route, state in pairs(states) do
    local key, stored = P .. 'statistics:' .. route, state.stored
    local fresh, gone = { key }, { key }
    local function note(name, value) fresh[#fresh + 1], fresh[#fresh + 2] = name, value end
    if state.queued_since ~= stored.queued_since then note('queued_since', state.queued_since) end
    if state.changed then
      note('refused', string.format('%.6g', state.refused))
      note('refused_at', now)
    end
    for _, name in ipairs(LAST_COMPLETIONS) do
      local last_completion = state.last_completions[name]
      if last_completion and last_completion ~= stored[name] then note(name, last_completion) end
      if stored[name] and not last_completion then gone[#gone + 1] = name end
    end
    if #fresh > 1 and state.limit then call('HSET', unpack(fresh)) end
    if #gone > 1 then call('HDEL', unpack(gone)) end
  end
end

-- Of two that run the same letter again, the second finds none.
local function has_letter() return #redis.pcall('XRANGE', P .. 'dead', letter, letter) == 1 end

-- 7. The batch --------------------------------------------------------------------------------------------------------

local out, classes, keyed = { now, 0 }, {}, {}
for i = 5, first_keyed - 1, PER_CLASS do
  local class = {
    route = ARGV[i], lane = ARGV[i + 1], flow = ARGV[i + 2], weight = tonumber(ARGV[i + 3]),
    share = tonumber(ARGV[i + 4]) / 1000, budget_ms = tonumber(ARGV[i + 5]),
  }
  local suppressed = tonumber(ARGV[i + 6])
  load_route(class)
  class.closed = closed(class)
  if not class.closed then estimate_wait(class) end
  local state = class.state
  if suppressed > 0 then state.refused, state.changed = state.refused + suppressed, true end
  classes[#classes + 1] = class
end
for k = first_keyed, first_request - 1, PER_KEYED do
  keyed[first_request + PER_REQUEST * (tonumber(ARGV[k]) - 1)] = {
    fingerprint = ARGV[k + 1], inbox = ARGV[k + 2], window = ARGV[k + 3], retry = ARGV[k + 4],
    accepted = ARGV[k + 5] == '1', full = ARGV[k + 6] == '1',
  }
end
for j = first_request, #ARGV, PER_REQUEST do
  local class, deadline, id, task = classes[tonumber(ARGV[j])], tonumber(ARGV[j + 1]), ARGV[j + 2], ARGV[j + 3]
  local state, wait_ms, remember_ms, retry_after_ms = class.state, 0, 0, 0
  local key, known = keyed[j], nil
  if key then known, wait_ms = recognize(id, key, class.route, now) end
  local gone = letter ~= '' and not has_letter() and CODE.GONE
  local code = known and CODE[known] or class.closed or gone or rejection(class, deadline)
  if not code then
    if key then remember(id, key, deadline) end
    local parked = state.max_running and state.unparked >= state.max_running
    add('slots', P .. 'slots:' .. class.route, deadline, id)
    add('waiting', parked and P .. 'parked:' .. class.route or P .. 'waiting:' .. class.lane, take_turn(class), id)
    if class.tenant then
      add('tenant_inflight', class.tenant, deadline, id)
      tenant_inflight[class.tenant] = tenant_inflight[class.tenant] + 1
    end
    tasks[#tasks + 1], tasks[#tasks + 2] = id, task
    if not parked then touched[class.lane], state.unparked = true, state.max_running and state.unparked + 1 end
    state.slots, state.waiting = state.slots + 1, state.waiting + 1
    wait_ms = math.max(0, math.min(class.budget_ms, class.position / class.rate))
    if class.saturated and not state.last_completions[class.sort] then state.last_completions[class.sort] = now end
  elseif not (known or class.closed or gone) then
    state.refused, state.changed = state.refused + 1, true
    -- what came past its deadline says nothing of those that come in time
    remember_ms = deadline > now and state.waiting > 0 and math.min(250, state.waiting / (5 * class.rate)) or 0
    local before = math.max(1, class.position) + 2 * state.refused
    retry_after_ms = math.min(60000, before / (class.usual_rate or class.rate))
  end
  out[#out + 1], out[#out + 2] = code or CODE.ADMITTED, wait_ms or 0
  out[#out + 1], out[#out + 2] = remember_ms, retry_after_ms
end
commit()
note_statistics()
return out
