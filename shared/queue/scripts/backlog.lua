-- Joined before claim: whether a queue stands (the field `mark` of the admission rule).
local function mark_backlog(t, now)
  local figures, mark = P .. 'figures:' .. t.route, field(t.flow, 'mark')
  if call('ZCARD', P .. 'slots:' .. t.route) <= call('ZCARD', P .. 'running:' .. t.route) then
    call('HDEL', figures, mark)
  else
    call('HSETNX', figures, mark, now)
  end
end
