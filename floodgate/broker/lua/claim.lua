-- Purpose: hand a claimer the first tasks by start tag over its lanes, under leases; drop what expired, is unwanted, or is for a gateway that is gone.
-- KEYS: prefix. ARGV: valid_until claimer serial room lease_ms max_bytes pool lanes...
-- Returns: {now, 1 if registered on every lane, garbage, then per task: id tries_used blob}. Past valid_until or unregistered: takes nothing.
-- Invariant: a lease is written only for what left `waiting`. Order: out of waiting, then into running.
local now, me, room, bytes = clock(), ARGV[2], math.min(256, tonumber(ARGV[4])), tonumber(ARGV[6])
local out, heads, left, lanes = { now, 1, 0 }, {}, {}, #ARGV - 7
for i = 8, #ARGV do
  local lane = ARGV[i]
  local waiting, serving = call('ZCARD', P .. 'waiting:' .. lane), call('ZSCORE', P .. 'serving:' .. lane, me)
  left[lane], touched[lane] = waiting, waiting > 0 or nil
  if not serving then out[2] = 0
  elseif waiting > 0 and now <= tonumber(ARGV[1]) then
    local share = math.min(room, waiting)
    if share > 1 then share = math.min(room, math.ceil(waiting / call('ZCARD', P .. 'serving:' .. lane))) end
    local z = call('ZRANGE', P .. 'waiting:' .. lane, 0, share - 1, 'WITHSCORES')
    for j = 1, #z, 2 do heads[#heads + 1] = { tonumber(z[j + 1]), z[j], lane } end
  end
end
if #heads > 0 then
  if lanes > 1 then table.sort(heads, function(a, b) return a[1] < b[1] or a[1] == b[1] and a[2] < b[2] end) end
  local virtual, taken, gone, leases, flows = 0, 0, {}, {}, {}
  local lease, ends = me .. '#' .. ARGV[3] .. '#', now + tonumber(ARGV[5])
  -- who runs it, since when, its time-out, and ~ if nobody waits on a connection
  local file, last, entry = { file_of(me) }, nil, nil
  for _, head in ipairs(heads) do
    if taken >= room or bytes <= 0 then break end
    local tag, id, lane = head[1], head[2], head[3]
    local blob, mark = call('HGET', P .. 'tasks', id), mark_of(id)
    local t = parse(blob)
    left[lane] = left[lane] - 1
    if not t or mark == 'x' or t.deadline <= now or is_for_nobody(id, t, now) then
      call('ZREM', P .. 'waiting:' .. lane, id)
      if not t then
        garbage = garbage + 1
        finish(id, route_of(id))
      elseif mark == 'x' then finish(id, t.route, t.flow)
      else finish_as(id, t, t.deadline <= now and 'expired' or 'dropped') end
    else
      local ids = gone[lane] or { P .. 'waiting:' .. lane }
      ids[#ids + 1], gone[lane] = id, ids
      local held = leases[t.route] or { P .. 'running:' .. t.route }
      held[#held + 1] = ends
      held[#held + 1] = lease .. id
      local sort = field(t.flow, t.route)
      leases[t.route], flows[sort] = held, t
      if not last or t.flow ~= last.flow or t.budget ~= last.budget then
        last, entry = t, me .. ' ' .. now .. ' ' .. t.budget .. (sort == t.route and '' or '~')
      end
      taken, bytes = taken + 1, bytes - #blob
      file[2 * taken], file[2 * taken + 1] = id, entry
      if tag < 1e15 then virtual = math.max(virtual, tag) end -- an infinite tag would end all turns
      out[#out + 1], out[#out + 2], out[#out + 3] = id, num(mark) or 0, blob
    end
  end
  for _, ids in pairs(gone) do call('ZREM', unpack(ids)) end
  for _, held in pairs(leases) do call('ZADD', unpack(held)) end
  if taken > 0 then on_loose('HSET', unpack(file)) end
  call('ZADD', P .. 'clock:' .. ARGV[7], 'GT', string.format('%.17g', virtual), '')
  for lane, n in pairs(left) do touched[lane] = n > 0 or nil end
  send()
  promote()
  for _, t in pairs(flows) do mark_backlog(t, now) end
end
lay()
out[3] = garbage
return out
