-- Purpose: a draining worker gives back what it holds. May be repeated.
-- KEYS: prefix. ARGV per task: lease id route started(0/1). Returns: {now, garbage, then per task 1, or 0 where the lease was gone}
-- Invariant: what had started counts as a try, so a POST never starts twice.
local now = clock()
local out = { now, 0 }
for i = 1, #ARGV, 4 do
  local held = end_lease(ARGV[i + 2], ARGV[i], ARGV[i + 1])
  if held then giveback(ARGV[i + 1], ARGV[i + 3] == '1', now) end
  out[#out + 1] = held and 1 or 0
end
put_all_away()
send()
promote()
lay()
out[2] = garbage
return out
