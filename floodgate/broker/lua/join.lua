-- Purpose: after a broken claim connection, return the leases the claimer does not know. May be repeated.
-- KEYS: prefix. ARGV: claimer, serial of the last claim whose reply it read, the leases it knows. Returns: {now, garbage, {gone}}
-- Invariant: of a later serial, the claim never arrived: uncounted. Of an earlier one, a failover lost its
--   complete: counted as a try, or an answered POST would run again.
local now, me, last, known, gone = clock(), ARGV[1] .. '#', tonumber(ARGV[2]), {}, {}
for i = 3, #ARGV do known[ARGV[i]] = true end
for _, route in ipairs(call('SMEMBERS', P .. 'routes')) do
  for _, lease in ipairs(call('ZRANGE', P .. 'running:' .. route, 0, -1)) do
    if string.sub(lease, 1, #me) == me and not known[lease] then
      local serial, id = task_of(lease)
      end_lease(route, lease, id)
      if id then giveback(id, (tonumber(serial) or 0) <= last, now) end
      gone[#gone + 1] = lease
    end
  end
end
put_all_away()
send()
promote()
lay()
return { now, garbage, gone }
