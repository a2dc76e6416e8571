-- Purpose: for each request refuse at once, or take a slot, tag and enqueue. Never sent twice: not idempotent.
-- KEYS: prefix. ARGV: valid_until; per request: route lane deadline id flow weight blob
-- Returns: {now, stale, garbage, then per request: code, remember_ms, retry_after_ms}; stale: past valid_until, nothing changed
--   codes: 0 admitted, 1 paused, 2 no worker, 3 too late, 4 full
-- Invariant: ZCARD slots <= limit. Order of writes: slots, tasks, waiting, clock, baton: a crash leaves a slot until its deadline.
local now = clock()
if now > tonumber(ARGV[1]) then return { now, 1, 0 } end
local out, figures, live, tags = { now, 0, 0 }, {}, {}, {}
local slots, waits, clocks, tasks = {}, {}, {}, { P .. 'tasks' }
local function add(sets, key, score, member)
  local s = sets[key] or { key }
  s[#s + 1] = score
  s[#s + 1] = member
  sets[key] = s
end
for i = 2, #ARGV, 7 do
  local route, lane, deadline, id, flow, weight = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), ARGV[i + 3], ARGV[i + 4], tonumber(ARGV[i + 5])
  local f = figures[route]
  if not f then
    local h = call('HMGET', P .. 'figures:' .. route, 'limit', 'override', 'mean')
    f = { limit = tonumber(h[2] or '') or tonumber(h[1] or ''), mean = tonumber(h[3] or '') or 10, used = call('ZCARD', P .. 'slots:' .. route) }
    figures[route] = f
  end
  if live[lane] == nil then
    local last = call('ZREVRANGE', P .. 'serving:' .. lane, 0, 0, 'WITHSCORES')
    live[lane] = last[2] ~= nil and tonumber(last[2]) > now
  end
  local code, retry = 0, 0
  if f.limit == 0 then code = 1
  elseif not f.limit or not live[lane] then code = 2
  elseif deadline <= now then code = 3
  elseif f.used >= f.limit then code, retry = 4, 1000
  else
    local c = P .. 'clock:' .. pool(lane)
    local tag = tags[c .. '\n' .. flow]
    if not tag then
      local s = call('ZMSCORE', c, '', flow)
      tag = math.max(tonumber(s[1] or '') or 0, tonumber(s[2] or '') or 0)
    end
    tags[c .. '\n' .. flow] = tag + math.max(1, f.mean) / weight
    f.used = f.used + 1
    add(slots, P .. 'slots:' .. route, deadline, id)
    add(waits, P .. 'waiting:' .. lane, tag, id)
    add(clocks, c, tags[c .. '\n' .. flow], flow)
    tasks[#tasks + 1] = id
    tasks[#tasks + 1] = ARGV[i + 6]
    touched[lane] = true
  end
  out[#out + 1], out[#out + 2], out[#out + 3] = code, 0, retry
end
if #tasks > 1 then
  for _, s in pairs(slots) do call('ZADD', unpack(s)) end
  call('HSET', unpack(tasks))
  for _, s in pairs(waits) do call('ZADD', unpack(s)) end
  for _, s in pairs(clocks) do call('ZADD', unpack(s)) end
  lay()
end
return out
