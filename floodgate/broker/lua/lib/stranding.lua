-- 202s of lanes that nobody serves stand aside in `stranded:<route>` until their own workers serve their level, or
-- others whose release has the same signature digest of the route. From there they are promoted as what is parked.
--- @include lib/promotion

local releases, homes = nil, {}
local function digest_of(release, route) return digest_in(releases[release], route) end
local function read_releases()
  releases = {}
  local z = call('HGETALL', P .. 'releases')
  for i = 1, #z, 2 do releases[z[i]] = z[i + 1] end
end
local function find_home(route, lane)
  if call('ZCARD', P .. 'serving:' .. lane) > 0 then return lane end
  if not releases then read_releases() end
  local own, rest = string.match(lane, '^([^:]*)(:.*)$')
  local digest = own and digest_of(own, route)
  for release in pairs(digest and releases or {}) do
    local agrees = digest_of(release, route) == digest
    if agrees and call('ZCARD', P .. 'serving:' .. release .. rest) > 0 then return release .. rest end
  end
  return false
end
local function home_of(route, lane)
  local key = route .. '#' .. lane
  if homes[key] == nil then homes[key] = find_home(route, lane) end
  return homes[key]
end

-- Whoever reads a task finds its lane in the task's header, so it is changed there and nowhere else.
local function move(id, lane)
  local blob = call('HGET', P .. 'tasks', id)
  local at, header = cmsgpack.unpack_one(blob, 13)
  header[2] = lane
  local rest = at > 0 and string.sub(blob, at + 1) or ''
  call('HSET', P .. 'tasks', id, string.sub(blob, 1, 13) .. cmsgpack.pack(header) .. rest)
end

local function strand_unserved(batch)
  for _, lane in ipairs(call('SMEMBERS', P .. 'lanes')) do
    local waiting = P .. 'waiting:' .. lane
    local unserved = call('ZCARD', P .. 'serving:' .. lane) == 0
    local z = unserved and call('ZRANGE', waiting, 0, batch - 1, 'WITHSCORES') or {}
    for i = 1, #z, 2 do
      local t = load_task(z[i])
      if t and is_stranded(t) then
        call('ZREM', waiting, z[i])
        strand(z[i], t, z[i + 1])
      end
    end
  end
end

-- A task's start tag becomes the virtual time of its new pool: tags of two clocks cannot be compared. Returns whether
-- there is more.
local function bring_home(batch)
  local moved = 0
  for _, route in ipairs(call('SMEMBERS', P .. 'routes')) do
    local stranded = P .. 'stranded:' .. route
    for _, member in ipairs(call('ZRANGE', stranded, 0, -1)) do
      if moved >= batch then return true end
      local lane, id = string.match(member, '^([^#]*)#(.+)$')
      local home = lane and home_of(route, lane)
      local t = home and load_task(id)
      if not lane or not call('ZSCORE', P .. 'slots:' .. route, id) then
        malformed = malformed + call('ZREM', stranded, member)
      elseif t then
        if home ~= t.lane then move(id, home) end
        call('ZREM', stranded, member)
        local virtual = num(call('ZSCORE', P .. 'clock:' .. pool_of(home), '')) or 0
        call('ZADD', P .. 'parked:' .. route, virtual + moved / 1000, id) -- in the order in which they stood
        moved, parked[route] = moved + 1, nil
      end
    end
  end
  return false
end
