#!lua flags=no-writes
-- Returns what is kept of an `Idempotency-Key`. It may be large, so `admit` says only that it is there.
--
-- KEYS[1]  prefix
-- ARGV[1]  record
-- Returns {kept, accepted, answer}.
--   kept: 0 = nothing is known, or the task is in the system
--   accepted: the id of a 202, or ''
--- @include lib/idempotency
local r = call('HMGET', record_key(ARGV[1]), 'task', 'accepted', 'answer')
local task, accepted, answer = r[1], r[2], r[3]
if accepted and accepted ~= '' then return { 1, accepted, '' } end
return { not task and answer and 1 or 0, '', not task and answer or '' }
