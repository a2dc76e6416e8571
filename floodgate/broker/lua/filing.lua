-- Joined before reap: mends `holders` where it is not as `running` and `serving` say. An older process writes nothing
-- there, and whoever died did not say that it left.
local UNKNOWN = 10000 -- ms: the time-out of what an older process took
local serving, files, changed = {}, { [P .. 'holders:left'] = true }, false
-- In the place of count_places: notes who serves, and whether that is as it was.
local function recount(lane)
  local before = call('HGET', P .. 'places', lane .. '|')
  for group in string.gmatch(before or '', '([^ =]+)=') do files[P .. 'holders:' .. group] = true end
  for _, claimer in ipairs(count_places(lane)) do
    serving[claimer] = true
    files[file_of(claimer)] = true
  end
  changed = changed or before ~= call('HGET', P .. 'places', lane .. '|')
end
-- An older process takes a lane out of `lanes`, and knows nothing of what is noted of its groups.
local function forget_lanes(walked)
  for _, field in ipairs(call('HKEYS', P .. 'places')) do
    local lane = string.match(field, '^(.*)|$')
    if lane and not walked[lane] then
      heal('serving:' .. lane, 'zset')
      recount(lane)
    end
  end
end
local function take_out_all()
  local known = {}
  for file in pairs(files) do
    local z = call('HGETALL', file)
    for i = 1, #z, 2 do known[z[i]] = z[i + 1] end
    call('DEL', file)
  end
  return known
end
-- Whoever left without naming all of its leases has notes in a file that no lane tells of any more.
local function find_files(routes)
  for _, route in ipairs(routes) do
    for _, lease in ipairs(call('ZRANGE', P .. 'running:' .. route, 0, -1)) do
      local file = file_of(lease)
      if not files[file] and on_loose('HLEN', file) > 0 then files[file] = true end
    end
  end
end
local function file_anew(now, routes)
  find_files(routes)
  local known, fresh = take_out_all(), {}
  for _, route in ipairs(routes) do
    for _, lease in ipairs(call('ZRANGE', P .. 'running:' .. route, 0, -1)) do
      local claimer, id = string.match(lease, '^([^#]*)#[^#]*#(.+)$')
      if id then
        local file, entry = serving[claimer] and file_of(lease) or P .. 'holders:left', known[id]
        if not entry or string.match(entry, '^[^ ]*') ~= claimer then entry = claimer .. ' ' .. now .. ' ' .. UNKNOWN end
        local s = fresh[file] or { file }
        s[#s + 1], s[#s + 2], fresh[file] = id, entry, s
        if #s > 1000 then
          call('HSET', unpack(s))
          fresh[file] = nil
        end
      end
    end
  end
  for _, s in pairs(fresh) do call('HSET', unpack(s)) end
end
local function mend_holders(now, routes)
  local filed, running = 0, 0
  for file in pairs(files) do
    filed = filed + on_loose('HLEN', file)
    call('EXPIRE', file, 7200) -- no run is longer: what an older process ended in it after its group left, nobody finds
  end
  for _, route in ipairs(routes) do running = running + call('ZCARD', P .. 'running:' .. route) end
  if changed or filed ~= running then file_anew(now, routes) end
end
