-- Joined before reap: 202s of lanes that nobody serves. They are kept aside until their own workers, or others whose
-- contract has the same digest of the route, serve their level; from there they are promoted as what is parked.
local contracts, homes = nil, {}
local function digest_of(contract, route)
  local text = ' ' .. (contracts[contract] or '')
  local _, at = string.find(text, ' ' .. route .. '=', 1, true)
  return at and string.match(text, '^[^ ]+', at + 1)
end
local function contracts_now()
  contracts = {}
  local z = call('HGETALL', P .. 'contracts')
  for i = 1, #z, 2 do contracts[z[i]] = z[i + 1] end
end
local function find_home(route, lane)
  if call('ZCARD', P .. 'serving:' .. lane) > 0 then return lane end
  if not contracts then contracts_now() end
  local own, rest = string.match(lane, '^([^:]*)(:.*)$')
  local digest = own and digest_of(own, route)
  for contract in pairs(digest and contracts or {}) do
    if digest_of(contract, route) == digest and call('ZCARD', P .. 'serving:' .. contract .. rest) > 0 then return contract .. rest end
  end
  return false
end
local function home_of(route, lane)
  local key = route .. '#' .. lane
  if homes[key] == nil then homes[key] = find_home(route, lane) end
  return homes[key]
end
-- Whoever reads a task finds its lane in the blob's header, so it is changed there and nowhere else.
local function move(id, lane)
  local blob = call('HGET', P .. 'tasks', id)
  local at, header = cmsgpack.unpack_one(blob, 13)
  header[2] = lane
  call('HSET', P .. 'tasks', id, string.sub(blob, 1, 13) .. cmsgpack.pack(header) .. (at > 0 and string.sub(blob, at + 1) or ''))
end
local function strand_unserved(batch)
  for _, lane in ipairs(call('SMEMBERS', P .. 'lanes')) do
    local waiting = P .. 'waiting:' .. lane
    local z = call('ZCARD', P .. 'serving:' .. lane) == 0 and call('ZRANGE', waiting, 0, batch - 1, 'WITHSCORES') or {}
    for i = 1, #z, 2 do
      local t = load(z[i])
      if t and is_stranded(t) then
        call('ZREM', waiting, z[i])
        strand(z[i], t, z[i + 1])
      end
    end
  end
end
-- Its place in the turns is the present of its new pool: tags of two clocks cannot be compared.
local function bring_home(batch)
  local moved = 0
  for _, route in ipairs(call('SMEMBERS', P .. 'routes')) do
    local stranded = P .. 'stranded:' .. route
    for _, member in ipairs(call('ZRANGE', stranded, 0, -1)) do
      if moved >= batch then return true end
      local lane, id = string.match(member, '^([^#]*)#(.+)$')
      local home = lane and home_of(route, lane)
      local t = home and load(id)
      if not lane or not call('ZSCORE', P .. 'slots:' .. route, id) then garbage = garbage + call('ZREM', stranded, member)
      elseif t then
        if home ~= t.lane then move(id, home) end
        call('ZREM', stranded, member)
        call('ZADD', P .. 'parked:' .. route, (num(call('ZSCORE', P .. 'clock:' .. pool(home), '')) or 0) + moved / 1000, id)
        moved, parked[route] = moved + 1, nil
      end
    end
  end
  return false
end
