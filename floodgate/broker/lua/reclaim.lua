#!lua flags=allow-oom
-- Takes back the leases that a consumer does not know, after its claim connection broke. May be repeated.
--
-- KEYS[1]  prefix
-- ARGV[1]  consumer
-- ARGV[2]  last_serial: of the last claim whose reply it read
-- ARGV[i]  lease that it knows, for each
-- Returns {now, {the leases taken back}}.
--
-- A lease of a later serial belongs to a claim that never arrived: its task was not started, and waits again uncounted.
-- One of an earlier serial lost its completion in a failover: counted as an attempt, or an answered POST would run
-- again.
--- @include lib/requeue
local now, prefix, last_serial, known, gone = server_time(), ARGV[1] .. '#', tonumber(ARGV[2]), {}, {}
for i = 3, #ARGV do known[ARGV[i]] = true end
for _, route in ipairs(call('SMEMBERS', P .. 'routes')) do
  for _, lease in ipairs(call('ZRANGE', P .. 'running:' .. route, 0, -1)) do
    if string.sub(lease, 1, #prefix) == prefix and not known[lease] then
      local serial, id = parts_of(lease)
      end_lease(route, lease, id)
      if id then requeue(id, lease, (tonumber(serial) or 0) <= last_serial, now) end
      gone[#gone + 1] = lease
    end
  end
end
remove_all_holders()
send_replies()
promote()
signal_ready()
return { now, gone }
