-- Purpose: how far a task is that nobody waits for on a connection. Changes nothing, and leaves the task's body in Redis.
-- KEYS: prefix. ARGV: id. Returns: {now, progress, result or ''}
--   progress: 0 unknown or told to stop, 1 waits, 2 runs, 3 has ended: its result stands until its time is over
local id, now = ARGV[1], clock()
local result = redis.pcall('GET', P .. 'result:' .. id)
if type(result) == 'string' then return { now, 3, result } end
local t = load(id)
if not t or mark_of(id) == 'x' then return { now, 0, '' } end
local waits = call('ZSCORE', P .. 'waiting:' .. t.lane, id) or call('ZSCORE', P .. 'parked:' .. t.route, id)
  or call('ZSCORE', P .. 'stranded:' .. t.route, t.lane .. '#' .. id)
return { now, waits and 1 or 2, '' }
