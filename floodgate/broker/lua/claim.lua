#!lua flags=allow-oom
-- Hands a consumer the first tasks by start tag over its lanes, under leases; drops what expired, is cancelled, or is
-- for a gateway that is gone.
--
-- KEYS[1]  prefix
-- ARGV[1]  valid_until: past it nothing is taken, since the consumer has given this call up
-- ARGV[2]  consumer
-- ARGV[3]  serial, of this claim
-- ARGV[4]  free: how many it can run
-- ARGV[5]  lease_ms
-- ARGV[6]  max_bytes of tasks; the first is taken whatever its size
-- ARGV[7]  pool
-- ARGV[i]  lane, for each
-- Returns {now, 1 if registered on every lane, malformed, then per task: id, attempts used, task}.
--
-- Invariant: a lease is written only for what left `waiting`. Order of writes: out of waiting, then into running. A
-- crash between leaves a task in slots only, which reap ends at its deadline; the other order could run it twice.
--- @include lib/promotion
--- @include lib/presence
local now, valid_until, consumer, lease_ms = server_time(), tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[5])
local free, bytes = math.min(256, tonumber(ARGV[4])), tonumber(ARGV[6])
local out, heads, left, lanes = { now, 1, 0 }, {}, {}, #ARGV - 7

-- A queue stands: its pace is measured from here on. It emptied: what was measured of it begins to be forgotten.
local function note_backlog(t)
  local statistics = P .. 'statistics:' .. t.route
  if in_system(t.route) <= call('ZCARD', P .. 'running:' .. t.route) then
    call('HDEL', statistics, 'last_completion_at', '~last_completion_at')
  else
    call('HSETNX', statistics, field(t.flow, 'last_completion_at'), now)
  end
end

for i = 8, #ARGV do
  local lane = ARGV[i]
  local waiting, serving = call('ZCARD', P .. 'waiting:' .. lane), call('ZSCORE', P .. 'serving:' .. lane, consumer)
  left[lane], touched[lane] = waiting, waiting > 0 or nil
  if not serving then out[2] = 0
  elseif waiting > 0 and now <= valid_until then
    -- a consumer's share of what waits, or the first to wake would take all and the others would idle
    local share = math.min(free, waiting)
    if share > 1 then share = math.min(free, math.ceil(waiting / call('ZCARD', P .. 'serving:' .. lane))) end
    local z = call('ZRANGE', P .. 'waiting:' .. lane, 0, share - 1, 'WITHSCORES')
    for j = 1, #z, 2 do heads[#heads + 1] = { tonumber(z[j + 1]), z[j], lane } end
  end
end
if #heads > 0 then
  if lanes > 1 then table.sort(heads, function(a, b) return a[1] < b[1] or a[1] == b[1] and a[2] < b[2] end) end
  local virtual, taken, taken_of, leases, flows = 0, 0, {}, {}, {}
  local lease, ends = consumer .. '#' .. ARGV[3] .. '#', now + lease_ms
  -- of each run: who runs it, since when, its time-out, and ~ if nobody waits on a connection
  local holders, last, entry = { holders_key(consumer) }, nil, nil
  for _, head in ipairs(heads) do
    if taken >= free or bytes <= 0 then break end
    local tag, id, lane = head[1], head[2], head[3]
    local blob, used = call('HGET', P .. 'tasks', id), attempts_of(id)
    local t = parse(blob)
    left[lane] = left[lane] - 1
    if not t or used == CANCELLED or t.deadline <= now or is_abandoned(id, t, now) then
      call('ZREM', P .. 'waiting:' .. lane, id)
      if not t then
        malformed = malformed + 1
        finish(id, route_of(id))
      elseif used == CANCELLED then finish(id, t.route, t.flow)
      else finish_as(id, t, t.deadline <= now and 'expired' or 'dropped', used) end
    else
      local ids = taken_of[lane] or { P .. 'waiting:' .. lane }
      ids[#ids + 1], taken_of[lane] = id, ids
      local running = leases[t.route] or { P .. 'running:' .. t.route }
      running[#running + 1] = ends
      running[#running + 1] = lease .. id
      local sort = field(t.flow, t.route)
      leases[t.route], flows[sort] = running, t
      if not last or t.flow ~= last.flow or t.budget ~= last.budget then
        last, entry = t, consumer .. ' ' .. now .. ' ' .. t.budget .. (sort == t.route and '' or '~')
      end
      taken, bytes = taken + 1, bytes - #blob
      holders[2 * taken], holders[2 * taken + 1] = id, entry
      if tag < 1e15 then virtual = math.max(virtual, tag) end -- an infinite tag would end all turns
      out[#out + 1], out[#out + 2], out[#out + 3] = id, used_in(used), blob
    end
  end
  for _, ids in pairs(taken_of) do call('ZREM', unpack(ids)) end
  for _, running in pairs(leases) do call('ZADD', unpack(running)) end
  if taken > 0 then redis.pcall('HSET', unpack(holders)) end
  call('ZADD', P .. 'clock:' .. ARGV[7], 'GT', string.format('%.17g', virtual), '')
  for lane, n in pairs(left) do touched[lane] = n > 0 or nil end
  send_replies()
  promote()
  for _, t in pairs(flows) do note_backlog(t) end
end
signal_ready()
out[3] = malformed
return out
