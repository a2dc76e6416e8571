#!lua flags=allow-oom
-- Notes how much of each stream its client has taken. The totals only grow, so a call that is lost is made good by the
-- next one. A full Redis allows it: without it, nothing would go on.
--
-- KEYS[1]  prefix
-- ARGV[1]  process of the gateway
-- ARGV[2]  streams: how many follow
-- ARGV[i]  id, for each
-- ARGV[i + 1]  bytes that its client has taken
-- ARGV[j]  id, for each that has ended
-- Returns {now}.
--
-- Invariant: the key ends a minute after its gateway has last spoken; a gateway with streams speaks every few seconds.
--- @include lib/prelude
local now, key, first_ended = server_time(), P .. 'acknowledged:' .. ARGV[1], 3 + 2 * tonumber(ARGV[2])
for i = 3, first_ended - 1, 2 do call('HSET', key, ARGV[i], ARGV[i + 1]) end
for j = first_ended, #ARGV do call('HDEL', key, ARGV[j]) end
call('EXPIRE', key, 60)
return { now }
