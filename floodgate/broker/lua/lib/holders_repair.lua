-- Makes `holders` agree with `running` and `serving` again. Whoever died did not say that it left, and a run of a
-- consumer that lapsed has to stand under `left`, or it would take a place that is not counted.
--- @include lib/concurrency
--- @include lib/runs

local UNKNOWN_BUDGET = 10000 -- ms: of a run whose record is missing
local serving, files, changed = {}, { [P .. 'holders:left'] = true }, false

-- Counts a lane's concurrency, and notes who serves it and whether that is as it was.
local function recount(lane)
  local before = call('HGET', P .. 'concurrency', lane .. '|')
  for group in string.gmatch(before or '', '([^ =]+)=') do files[P .. 'holders:' .. group] = true end
  for _, consumer in ipairs(count_concurrency(lane)) do
    serving[consumer] = true
    files[holders_key(consumer)] = true
  end
  changed = changed or before ~= call('HGET', P .. 'concurrency', lane .. '|')
end

-- Whoever left without naming all of its leases has records in a file that no lane tells of any more.
local function find_files(routes)
  for _, route in ipairs(routes) do
    for _, lease in ipairs(call('ZRANGE', P .. 'running:' .. route, 0, -1)) do
      local file = holders_key(lease)
      if not files[file] and call('HLEN', file) > 0 then files[file] = true end
    end
  end
end

local function remove_all_files()
  local known = {}
  for file in pairs(files) do
    local z = call('HGETALL', file)
    for i = 1, #z, 2 do known[z[i]] = z[i + 1] end
    call('DEL', file)
  end
  return known
end

local function write_anew(now, routes)
  find_files(routes)
  local known, fresh = remove_all_files(), {}
  for _, route in ipairs(routes) do
    for _, lease in ipairs(call('ZRANGE', P .. 'running:' .. route, 0, -1)) do
      local consumer, id = string.match(lease, '^([^#]*)#[^#]*#(.+)$')
      if id then
        local file, entry = serving[consumer] and holders_key(lease) or P .. 'holders:left', known[id]
        if not entry or string.match(entry, '^[^ ]*') ~= consumer then
          entry = consumer .. ' ' .. now .. ' ' .. UNKNOWN_BUDGET
        end
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

local function repair_holders(now, routes)
  local held, running = 0, 0
  for file in pairs(files) do
    held = held + call('HLEN', file)
    call('EXPIRE', file, 7200) -- no run is longer: what ended in it after its group left, nobody would find
  end
  for _, route in ipairs(routes) do running = running + call('ZCARD', P .. 'running:' .. route) end
  if changed or held ~= running then write_anew(now, routes) end
end
