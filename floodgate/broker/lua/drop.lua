-- Purpose: drop a kept result before its time.
-- KEYS: prefix. ARGV: id. Returns: {now, 1, or 0 where there was none}
-- Invariant: `results` has no bytes of a result that is gone, but for those that ended by themselves in this minute.
local now, key, results = clock(), P .. 'result:' .. ARGV[1], P .. 'results'
local ends, size = call('PEXPIRETIME', key), redis.pcall('STRLEN', key)
local dropped = call('DEL', key)
if dropped == 1 and ends > 0 and type(size) == 'number' and on_loose('HEXISTS', results, minute_of(ends)) == 1 then
  on_loose('HINCRBY', results, minute_of(ends), -size)
end
return { now, dropped }
