-- Purpose: make routes and lanes known to reap, set limits, publish a worker's contract. Idempotent.
-- KEYS: prefix. ARGV: started_ms, contract ('' = none), digests, number of routes, per route: route limit max_running(0 = none); lanes...
-- Returns: {now, garbage}. Invariant: the limit of the newest start applies; overrides stay.
local now, started, n = clock(), tonumber(ARGV[1]), tonumber(ARGV[4])
for i = 5, 2 + 3 * n, 3 do
  local figures = P .. 'figures:' .. ARGV[i]
  call('SADD', P .. 'routes', ARGV[i])
  local version = tonumber(call('HGET', figures, 'version') or '')
  if not version or started >= version or version > now then
    call('HSET', figures, 'limit', ARGV[i + 1], 'version', started)
    if ARGV[i + 2] ~= '0' then call('HSET', figures, 'max_running', ARGV[i + 2]) else call('HDEL', figures, 'max_running') end
  end
end
for i = 5 + 3 * n, #ARGV do call('SADD', P .. 'lanes', ARGV[i]) end
if ARGV[2] ~= '' then call('HSET', P .. 'contracts', ARGV[2], ARGV[3]) end
return { now, garbage }
