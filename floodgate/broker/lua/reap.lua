#!lua flags=allow-oom
-- Once a period, by whichever process comes first: ends leases and registrations whose time is over, expires tasks,
-- finds orphans, signals lost wake-up markers, forgets lanes and releases that nobody uses.
--
-- KEYS[1]  prefix
-- ARGV[1]  lease_ms
-- ARGV[2]  period_ms: nothing is done if somebody reaped less than this ago
-- ARGV[3]  batch: at most so many of each sort
-- ARGV[4]  dead_entries: as many dead letters are kept
-- ARGV[5]  gateway: the gateway process that calls, whose presence this renews, or ''
-- ARGV[6]  dead_bodies: 1 = dead letters have the task's body, headers, query and claims
-- Returns {ran, ended, expired, orphans, malformed, more (1 = reap again at once)}.
--
-- Invariant: when the last reap is longer ago than `gap`, in either direction, nobody could renew (Redis was frozen,
-- restarted, failed over, or its clock stepped), so no lease ends for one lease length: the lease grace.
--- @include lib/requeue
--- @include lib/registrations
--- @include lib/abandoned
--- @include lib/stranding
local now, lease_ms, period_ms, batch = server_time(), tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local dead_entries, gateway, dead_bodies = ARGV[4], ARGV[5], ARGV[6]
local ended, expired, orphans, more = 0, 0, 0, 0

if gateway ~= '' then call('ZADD', P .. 'gateways', now + lease_ms, gateway) end
local r = call('HMGET', P .. 'reap', 'last', 'lease_grace_until', 'registration_grace_until', 'dropped_at')
local last, lease_grace_until, registration_grace_until = num(r[1]), num(r[2]) or 0, num(r[3]) or 0
if last and now >= last and now - last < period_ms then return { 0, 0, 0, 0, 0, 0 } end

-- Half a lease is a gap, but at least two periods, since two in a row may be missed by chance. A registration lasts 0.6
-- of a lease, so it is in danger sooner, and gets its grace sooner. Where processes differ in their lease, the shortest
-- says what is dangerous, the longest how rarely somebody reaps.
local shortest, longest = leases_of(lease_ms)
local gap = math.floor(math.max(shortest / 2, 2 * math.min(1000, longest / 5)))
local silent = last and now >= last and now - last or 1e15
if silent > gap then lease_grace_until = now + longest end
if silent > 0.6 * gap then registration_grace_until = now + 0.6 * longest end
lease_grace_until = math.min(lease_grace_until, now + longest)
registration_grace_until = math.min(registration_grace_until, now + 0.6 * longest)
call('HSET', P .. 'reap', 'last', now, 'gap', gap, 'lease_grace_until', lease_grace_until,
  'registration_grace_until', registration_grace_until, 'dead_entries', dead_entries, 'dead_bodies', dead_bodies)
sweep_registrations(now, lease_ms, 2 * shortest, silent > 0.6 * gap)

local function end_leases(route, running)
  local over = call('ZRANGEBYSCORE', running, '-inf', now, 'LIMIT', 0, batch)
  for _, lease in ipairs(over) do
    local _, id = parts_of(lease)
    end_lease(route, lease, id)
    if id then requeue(id, lease, true, now) else malformed = malformed + 1 end
  end
  ended = ended + #over
  if #over >= batch then more = 1 end
end

local function running_ids(running)
  local found = {}
  for _, lease in ipairs(call('ZRANGE', running, 0, -1)) do found[select(2, parts_of(lease)) or lease] = true end
  return found
end

-- What runs past its deadline keeps its slot, which its tenant holds, until its handler ends.
local function look_again(id, t, slots, at)
  call('ZADD', slots, 'XX', at, id)
  local inflight = tenant_key(t and t.flow or '')
  if inflight then
    redis.pcall('ZADD', inflight, at, id)
    call('PEXPIRE', inflight, 7200000)
  end
end

local function expire_tasks(route, running, parked_key)
  local slots, runs = P .. 'slots:' .. route, nil
  -- a clock that stepped back, or a malformed score, would make these last for ever; no deadline is two hours ahead
  for _, id in ipairs(call('ZRANGEBYSCORE', slots, now + 7200000, '+inf', 'LIMIT', 0, batch)) do
    call('ZADD', slots, 'XX', now, id)
  end
  local due = call('ZRANGEBYSCORE', slots, '-inf', now, 'LIMIT', 0, batch)
  if #due >= batch then more = 1 end
  for _, id in ipairs(due) do
    local t = load_task(id)
    runs = runs or running_ids(running)
    if runs[id] then look_again(id, t, slots, now + lease_ms)
    elseif not t then
      call('ZREM', parked_key, id)
      finish(id, route)
      orphans = orphans + 1
    elseif call('ZREM', P .. 'waiting:' .. t.lane, id) + call('ZREM', parked_key, id)
      + call('ZREM', P .. 'stranded:' .. route, t.lane .. '#' .. id) > 0 then
      finish_as(id, t, 'expired', attempts_of(id))
      expired = expired + 1
    else -- in slots only: a crash left it between two writes
      bury(id, t, attempts_of(id), now)
      finish_as(id, t, 'lost', true)
      orphans = orphans + 1
    end
  end
end

-- What is parked has a slot and does not run; anything else there would let too many run.
local function repair_parked(route, running, parked_key)
  if call('ZCARD', parked_key) + call('ZCARD', running) <= in_system(route) then return end
  for _, id in ipairs(call('ZDIFF', 2, parked_key, P .. 'slots:' .. route)) do
    malformed = malformed + call('ZREM', parked_key, id)
  end
end

-- What is stranded finds workers by its own release, so that is kept while a task of its routes is there, and no longer
-- than two hours, since no deadline is further ahead.
local function forget_release(release)
  call('ZADD', P .. 'unserved', 'LT', now, release)
  local needed = now - call('ZSCORE', P .. 'unserved', release) < 7200000
  if needed then
    needed = false
    for route in string.gmatch(call('HGET', P .. 'releases', release), '([^ =]+)=') do
      needed = needed or call('EXISTS', P .. 'slots:' .. route) == 1
    end
  end
  if needed then return end
  call('HDEL', P .. 'releases', release)
  call('ZREM', P .. 'unserved', release)
end

-- Invariant: what is parked keeps its lane and its pool's clock: without the clock, newcomers would overtake it.
local function sweep_lanes()
  local waiting, served = {}, {}
  for _, lane in ipairs(call('SMEMBERS', P .. 'lanes')) do
    local n, consumers = call('ZCARD', P .. 'waiting:' .. lane), call('ZCARD', P .. 'serving:' .. lane)
    waiting[pool_of(lane)] = (waiting[pool_of(lane)] or 0) + n
    if consumers > 0 then served[string.match(lane, '^[^:]*')] = true
    elseif n == 0 and not still_parked then
      call('SREM', P .. 'lanes', lane)
      call('DEL', P .. 'wake:' .. lane)
    end
    touched[lane] = true -- a marker dies with the consumer that took it and did not claim
  end
  for pool, n in pairs(waiting) do
    local clock = P .. 'clock:' .. pool
    local virtual = call('ZSCORE', clock, '')
    if n == 0 and not still_parked or virtual and not num(virtual) then call('DEL', clock)
    elseif virtual then call('ZREMRANGEBYSCORE', clock, '-inf', '(' .. virtual) end
  end
  for _, release in ipairs(call('HKEYS', P .. 'releases')) do
    if served[release] then call('ZREM', P .. 'unserved', release) else forget_release(release) end
  end
end

local routes = call('SMEMBERS', P .. 'routes')
for _, route in ipairs(routes) do
  local running, parked_key = P .. 'running:' .. route, P .. 'parked:' .. route
  repair_parked(route, running, parked_key)
  if now >= lease_grace_until then end_leases(route, running) end
  bound(running, now, lease_ms, 2 * shortest)
  freed[route] = true
  expire_tasks(route, running, parked_key)
end
remove_all_holders()
if drop_abandoned(now, num(r[4]) or 0, batch) then more = 1 end
send_replies() -- of slots that are free by now, before anything else can fail
if now >= registration_grace_until then strand_unserved(batch) end
if bring_home(batch) then more = 1 end
promote()
sweep_lanes()
drop_old_letters(now)
repair_holders(now, routes)
if more == 1 then call('HSET', P .. 'reap', 'last', now - period_ms) end
signal_ready()
return { 1, ended, expired, orphans, malformed, more }
