-- Joined before claim and reap: whether the gateway that a task's answer would go to is gone.
-- Without a record it is there: it may be of an earlier release. While nobody could renew, nobody is gone.
local presences, grace = {}, nil
local function in_grace(now)
  local r = call('HMGET', P .. 'reap', 'last', 'until', 'gap')
  local last, mercy, gap = num(r[1]), num(r[2]), num(r[3])
  return not (last and mercy and gap) or now < mercy or now < last or now - last > gap
end
local function is_gone(inbox, now)
  presences[inbox] = presences[inbox] or num(call('ZSCORE', P .. 'gateways', inbox)) or 1e15
  if presences[inbox] > now then return false end
  if grace == nil then grace = in_grace(now) end
  return not grace
end
-- What never started. A 202, whose result can be fetched later, has the name of no gateway for its inbox.
local function is_for_nobody(id, t, now) return is_gone(t.inbox, now) and not mark_of(id) end
