#!lua flags=allow-oom
-- Deletes a dead letter.
--
-- KEYS[1]  prefix
-- ARGV[1]  entry
-- Returns {now, 1, or 0 where there was none}.
--- @include lib/prelude
local deleted = redis.pcall('XDEL', P .. 'dead', ARGV[1])
return { server_time(), type(deleted) == 'number' and deleted or 0 }
