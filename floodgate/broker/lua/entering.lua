-- Joined before admit: what it writes, gathered first, and in the order of its invariant.
local now, doors, lanes, helds = clock(), {}, {}, {} -- per route, per lane, per tenant: read once, and counted on
local sets, tasks = { slots = {}, held = {}, waiting = {}, clock = {}, turns = {} }, { P .. 'tasks' }
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
  for key, s in pairs(sets.held) do -- what a crash left ends by itself: a deadline is at most two hours ahead
    on_loose('ZADD', unpack(s))
    call('ZREMRANGEBYSCORE', key, '-inf', now - 10000)
    call('PEXPIRE', key, 7200000)
  end
  write('turns')
  for key in pairs(sets.turns) do call('PEXPIRE', key, 7200000) end
  write('waiting')
  write('clock')
  -- as lay() does, of lanes that are known to have work now
  for lane in pairs(touched) do
    if not lanes[lane].waits then call('RPUSH', P .. 'wake:' .. lane, '1') end
  end
end
local function note_figures()
  for route, d in pairs(doors) do
    local key = P .. 'figures:' .. route
    local fresh, gone = { key }, { key }
    if d.since ~= d.stored.since then fresh[2], fresh[3] = 'since', d.since end
    local n = #fresh
    if d.news then fresh[n + 1], fresh[n + 2], fresh[n + 3], fresh[n + 4] = 'missed', string.format('%.6g', d.missed), 'missed_at', now end
    for _, name in ipairs({ 'mark', '~mark' }) do
      local mark = d.marks[name]
      if mark and mark ~= d.stored[name] then fresh[#fresh + 1], fresh[#fresh + 2] = name, mark end
      if d.stored[name] and not mark then gone[#gone + 1] = name end
    end
    if #fresh > 1 and d.limit then call('HSET', unpack(fresh)) end
    if #gone > 1 then call('HDEL', unpack(gone)) end
  end
end
