#!lua flags=allow-oom
-- Declares routes and lanes, sets limits, publishes a worker's release. Idempotent.
--
-- KEYS[1]  prefix
-- ARGV[1]  started_ms: when the process's master started; the limits of the newest start apply
-- ARGV[2]  release: the release digest of a worker, or ''
-- ARGV[3]  digests: "<route>=<signature digest> ..." of that release
-- ARGV[4]  routes: how many follow
-- ARGV[i]  route, for each of them
-- ARGV[i + 1]  limit: its max_concurrency
-- ARGV[i + 2]  max_running; 0 = none
-- ARGV[j]  lane, for each
-- Returns {now}.
--
-- A respawned child has its master's start, so it changes nothing. Overrides are fields of their own, and stay.
--- @include lib/prelude
local now, started, release, count = server_time(), tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[4])
local first_lane = 5 + 3 * count
for i = 5, first_lane - 1, 3 do
  local route, limit, max_running = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local statistics = P .. 'statistics:' .. route
  call('SADD', P .. 'routes', route)
  local version = tonumber(call('HGET', statistics, 'version') or '')
  if not version or started >= version or version > now then
    call('HSET', statistics, 'limit', limit, 'version', started)
    if max_running ~= '0' then call('HSET', statistics, 'max_running', max_running)
    else call('HDEL', statistics, 'max_running') end
  end
end
for j = first_lane, #ARGV do call('SADD', P .. 'lanes', ARGV[j]) end
if release ~= '' then call('HSET', P .. 'releases', release, ARGV[3]) end
return { now }
