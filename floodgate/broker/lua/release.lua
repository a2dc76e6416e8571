#!lua flags=allow-oom
-- Gives back what a draining worker holds. May be repeated.
--
-- KEYS[1]  prefix
-- ARGV[i]  lease, for each task
-- ARGV[i + 1]  id
-- ARGV[i + 2]  route
-- ARGV[i + 3]  started: 1 = its handler had started, so this was an attempt, and a POST does not start again
-- Returns {per task 1, or 0 where the lease was gone}.
--- @include lib/requeue
local now, out = server_time(), {}
for i = 1, #ARGV, 4 do
  local lease, id, route, started = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3] == '1'
  local held = end_lease(route, lease, id)
  if held then requeue(id, lease, started, now) end
  out[#out + 1] = held and 1 or 0
end
remove_all_holders()
send_replies()
promote()
signal_ready()
return out
