-- Purpose: keep a claimer registered and its leases alive; tell it which are gone or unwanted. Idempotent.
-- KEYS: prefix. ARGV: claimer register_ms(0 = leave) lease_ms number of lanes, lanes..., per lease: route lease
-- Returns: {now, garbage, joined(1 = was not registered), {gone}, {unwanted}}
-- Invariant: only leases that are there are extended: a lease that ended is never brought back.
local now, me, register, n = clock(), ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[4])
local out, moved = { now, 0, 0, {}, {} }, false
for i = 5, 4 + n do
  local changed
  if register > 0 then
    changed = call('ZADD', P .. 'serving:' .. ARGV[i], now + register, me)
    call('SADD', P .. 'lanes', ARGV[i])
    if changed == 1 then out[3] = 1 end
  else
    changed = call('ZREM', P .. 'serving:' .. ARGV[i], me)
  end
  if changed == 1 then
    moved = true
    count_places(ARGV[i])
  end
end
if register <= 0 then
  call('RPUSH', P .. 'bell:' .. me, 'leave')
  call('EXPIRE', P .. 'bell:' .. me, 60)
end
for i = 5 + n, #ARGV, 2 do
  local running, lease = P .. 'running:' .. ARGV[i], ARGV[i + 1]
  if not call('ZSCORE', running, lease) then out[4][#out[4] + 1] = lease
  else
    call('ZADD', running, 'XX', now + tonumber(ARGV[3]), lease)
    local id = string.match(lease, '^[^#]*#[^#]*#(.+)$')
    if id and moved then move_entry(lease, id, register > 0) end
    if id and call('HGET', P .. 'marks', id) == 'x' then out[5][#out[5] + 1] = lease end
  end
end
return out
