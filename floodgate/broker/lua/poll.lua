#!lua flags=no-writes
-- Tells how far a task is that nobody waits for on a connection, and its result. Its body stays in Redis.
--
-- KEYS[1]  prefix
-- ARGV[1]  id
-- Returns {progress, result or ''}. Progress: 0 unknown or cancelled, 1 waits, 2 runs, 3 has ended.
--- @include lib/tasks
local id = ARGV[1]
local result = call('GET', P .. 'result:' .. id)
if result then return { 3, result } end
local t = load_task(id)
if not t or attempts_of(id) == CANCELLED then return { 0, '' } end
local waits = call('ZSCORE', P .. 'waiting:' .. t.lane, id) or call('ZSCORE', P .. 'parked:' .. t.route, id)
  or call('ZSCORE', P .. 'stranded:' .. t.route, t.lane .. '#' .. id)
return { waits and 1 or 2, '' }
