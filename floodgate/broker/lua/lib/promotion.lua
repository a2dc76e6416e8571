-- What max_running holds back follows whatever frees a place of its route.
-- Invariant: of a route with max_running, running + waiting <= max_running, and = while something is parked. A slot's
-- task is in exactly one of waiting, parked, stranded and running.
--- @include lib/tasks

local MOST_PROMOTED = 1000 -- per call: a limit that was raised moves no more at once, and reap goes on with the rest
local parked, still_parked = {}, false
local function parked_count(route)
  parked[route] = parked[route] or call('ZCARD', P .. 'parked:' .. route)
  return parked[route]
end

-- Nobody waits for a 202 on a connection, so no gateway moves it off a lane that nobody serves any more: reap does.
local function is_stranded(t)
  return string.sub(t.inbox, 1, 1) == '=' and call('ZCARD', P .. 'serving:' .. t.lane) == 0
end
local function strand(id, t, tag) call('ZADD', P .. 'stranded:' .. t.route, tag, t.lane .. '#' .. id) end

-- Returns how many took no place, which are still to be given away.
local function promote_some(route, places)
  local from, slots, ids, dropped, stranded = P .. 'parked:' .. route, P .. 'slots:' .. route, {}, 0, 0
  local popped = call('ZPOPMIN', from, places)
  for i = 1, #popped, 2 do ids[#ids + 1] = popped[i] end
  local has = call('ZMSCORE', slots, unpack(ids))
  for i, id in ipairs(ids) do
    local t = has[i] and load_task(id)
    if t and is_stranded(t) then
      strand(id, t, popped[2 * i])
      stranded = stranded + 1
    elseif t then
      call('ZADD', P .. 'waiting:' .. t.lane, popped[2 * i], id)
      touched[t.lane] = true
    else
      finish(id, route)
      dropped = dropped + 1
    end
  end
  malformed = malformed + dropped
  return dropped + stranded
end
local function promote()
  for route in pairs(freed) do
    local left = parked_count(route)
    if left > 0 then
      local max_running, again = num(call('HGET', P .. 'statistics:' .. route, 'max_running')) or 1e15, 0
      if max_running < 1 then max_running = 1e15 end
      repeat
        local places = math.min(left, max_running - in_system(route) + left, MOST_PROMOTED)
        again = places > 0 and promote_some(route, places) or 0
        left = left - math.max(0, places)
      until again == 0 or left == 0
      still_parked = still_parked or left > 0
    end
  end
end
