-- Joined before admit: what it writes, gathered first, and in the order of its invariant.
local now, doors, sheets = clock(), {}, {} -- counts per route, figures per route and sort
local sets, tasks = { slots = {}, held = {}, waiting = {}, clock = {} }, { P .. 'tasks' }
local function add(kind, key, score, member)
  local s = sets[kind][key] or { key }
  s[#s + 1], s[#s + 2] = score, member
  sets[kind][key] = s
end
local function write(kind)
  for _, s in pairs(sets[kind]) do call('ZADD', unpack(s)) end
end
local function enter()
  if #tasks == 1 then return end
  write('slots')
  call('HSET', unpack(tasks))
  write('held')
  for key in pairs(sets.held) do -- what a crash left ends by itself: a deadline is at most two hours ahead
    call('ZREMRANGEBYSCORE', key, '-inf', now)
    call('PEXPIRE', key, 7200000)
  end
  write('waiting')
  write('clock')
  lay()
end
local function note_figures()
  for _, s in pairs(sheets) do
    local key, mark = P .. 'figures:' .. s.route, field(s.flow, 'mark')
    if s.fresh then call('HSET', key, field(s.flow, 'since'), now) end
    if s.mark and s.mark ~= s.marked then call('HSET', key, mark, s.mark) elseif s.marked and not s.mark then call('HDEL', key, mark) end
  end
  for route, d in pairs(doors) do
    if d.news then call('HSET', P .. 'figures:' .. route, 'missed', string.format('%.6g', d.missed), 'missed_at', now) end
  end
end
