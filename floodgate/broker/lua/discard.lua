#!lua flags=allow-oom
-- Deletes a kept result before its time.
--
-- KEYS[1]  prefix
-- ARGV[1]  id
-- Returns {1, or 0 where there was none}.
--
-- Invariant: `results` has no bytes of a result that is gone, but for those that ended by themselves in this minute.
--- @include lib/results
local key, sums = P .. 'result:' .. ARGV[1], P .. 'results'
local ends, size = call('PEXPIRETIME', key), call('STRLEN', key)
local summed = ends > 0 and call('HEXISTS', sums, minute_of(ends)) == 1
local deleted = call('DEL', key)
if deleted == 1 and summed then call('HINCRBY', sums, minute_of(ends), -size) end
return { deleted }
