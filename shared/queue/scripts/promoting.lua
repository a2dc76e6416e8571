-- Joined after ending: what max_running held back follows whatever frees a place of its route.
-- Invariant: of a route with max_running, running + waiting <= max_running, with equality as long as something is parked.
local function promote()
  for route in pairs(freed) do
    local parked = call('ZCARD', P .. 'parked:' .. route)
    if parked > 0 then
      local most = tonumber(call('HGET', P .. 'figures:' .. route, 'max_running') or '') or 1e15
      local room = math.min(parked, most - call('ZCARD', P .. 'slots:' .. route) + parked)
      local next = room > 0 and call('ZPOPMIN', P .. 'parked:' .. route, room) or {}
      for i = 1, #next, 2 do
        local t = load(next[i])
        if t then
          call('ZADD', P .. 'waiting:' .. t.lane, next[i + 1], next[i])
          touched[t.lane] = true
        else
          garbage = garbage + 1
          finish(next[i], route)
        end
      end
    end
  end
end
