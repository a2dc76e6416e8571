-- Joined before claim: whether a queue stands (the fields `mark` of the admission rule).
local function mark_backlog(t, now)
  local figures = P .. 'figures:' .. t.route
  if in_line(t.route) <= call('ZCARD', P .. 'running:' .. t.route) then
    call('HDEL', figures, 'mark', '~mark')
  else
    call('HSETNX', figures, field(t.flow, 'mark'), now)
  end
end
