#!lua flags=allow-oom
-- Keeps a consumer registered and its leases alive; tells it which are gone or cancelled. Idempotent.
--
-- KEYS[1]  prefix
-- ARGV[1]  consumer
-- ARGV[2]  register_ms; 0 = leave
-- ARGV[3]  lease_ms
-- ARGV[4]  lanes: how many follow
-- ARGV[i]  lane, for each of them
-- ARGV[j]  route, for each lease
-- ARGV[j + 1]  lease
-- Returns {now, joined (1 = a lane did not know it, or nobody its release), {gone leases}, {cancelled leases}}.
--
-- Invariant: only leases that are there are extended. One that ended belongs to another worker by now, and is never
-- brought back.
--- @include lib/concurrency
--- @include lib/runs
local now, consumer, register_ms, lease_ms = server_time(), ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local first_lease = 5 + tonumber(ARGV[4])
local out, moved = { now, 0, {}, {} }, false

-- Nobody knows what its release makes of a route: no gateway of another release sends it tasks.
local function unpublished(lane)
  return call('HEXISTS', P .. 'releases', string.match(lane, '^[^:]*')) == 0
end
for i = 5, first_lease - 1 do
  local lane, changed = ARGV[i], 0
  if register_ms > 0 then
    changed = call('ZADD', P .. 'serving:' .. lane, now + register_ms, consumer)
    call('SADD', P .. 'lanes', lane)
    if changed == 1 or unpublished(lane) then out[2] = 1 end
  else
    changed = call('ZREM', P .. 'serving:' .. lane, consumer)
  end
  if changed == 1 then
    moved = true
    count_concurrency(lane)
  end
end
if register_ms <= 0 then
  call('RPUSH', P .. 'control:' .. consumer, 'leave')
  call('EXPIRE', P .. 'control:' .. consumer, 60)
end
for j = first_lease, #ARGV, 2 do
  local running, lease = P .. 'running:' .. ARGV[j], ARGV[j + 1]
  if not call('ZSCORE', running, lease) then out[3][#out[3] + 1] = lease
  else
    call('ZADD', running, 'XX', now + lease_ms, lease)
    local _, id = parts_of(lease)
    if id and moved then move_holder(lease, id, register_ms > 0) end
    if id and call('HGET', P .. 'attempts', id) == 'x' then out[4][#out[4] + 1] = lease end
  end
end
return out
