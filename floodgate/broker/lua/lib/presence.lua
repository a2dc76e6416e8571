-- Whether the gateway that a task's answer would go to is gone. Claim starts nothing for it, reap frees its slots.
-- A gateway renews its presence with every reap. One without a record counts as there: it may not have called yet.
--- @include lib/tasks

-- While nobody could renew (Redis was frozen, restarted, failed over, its clock stepped), nobody is gone.
local presences, lease_grace = {}, nil
local function in_lease_grace(now)
  local r = call('HMGET', P .. 'reap', 'last', 'lease_grace_until', 'gap')
  local last, grace_until, gap = num(r[1]), num(r[2]), num(r[3])
  return not (last and grace_until and gap) or now < grace_until or now < last or now - last > gap
end
local function is_gone(inbox, now)
  presences[inbox] = presences[inbox] or num(call('ZSCORE', P .. 'gateways', inbox)) or 1e15
  if presences[inbox] > now then return false end
  if lease_grace == nil then lease_grace = in_lease_grace(now) end
  return not lease_grace
end

-- Others wait for it as well, who came with the same `Idempotency-Key`.
local function has_joiner(id, now)
  local r = load_record(id)
  for name, inbox in pairs(r and r.names or {}) do
    if name ~= id and not is_gone(inbox, now) then return true end
  end
end
-- Only what never started: a started one may have had an effect. A 202, whose result can be fetched later, names no
-- gateway as its inbox, so it is never gone.
local function is_abandoned(id, t, now)
  return is_gone(t.inbox, now) and not attempts_of(id) and not has_joiner(id, now)
end
