-- Purpose: end runs: free the slots, reply, note the service time. May be repeated blindly.
-- KEYS: prefix. ARGV per task: lease id route lane flow inbox budget_ms run_ms in_time(0/1) sample(0/1, 2 = a failure) reply('' = nobody waits)
-- Returns: {now, garbage, then per task 1, or 0 where the lease was gone and nothing changed}
-- Invariant: the gate (`end_lease`) opens once per lease. `mean` counts a late run as a whole budget (overload.md).
local now, batches, batons = clock(), {}, {}
local out = { now, 0 }
for i = 1, #ARGV, 11 do -- before the first write: whether somebody waits for the places that come free
  local route, lane, sort = ARGV[i + 2], ARGV[i + 3], field(ARGV[i + 4], ARGV[i + 2])
  if batons[lane] == nil then batons[lane] = call('LLEN', P .. 'wake:' .. lane) > 0 end
  local b = batches[sort] or { route = route, flow = ARGV[i + 4], runs = {}, failures = {}, in_time = 0 }
  b.saturated, batches[sort] = b.saturated or batons[lane] or held_back(route) > 0, b
end
for i = 1, #ARGV, 11 do
  local id, route, flow = ARGV[i + 1], ARGV[i + 2], ARGV[i + 4]
  local held = end_lease(route, ARGV[i], id)
  out[#out + 1] = held and 1 or 0
  if held then
    local b, run = batches[field(flow, route)], tonumber(ARGV[i + 7])
    b.ended = true
    local wanted = mark_of(id) ~= 'x'
    if finish(id, route, flow) and wanted and ARGV[i + 10] ~= '' then reply(ARGV[i + 5], ARGV[i + 10], id) end
    if wanted and ARGV[i + 9] ~= '0' then
      if ARGV[i + 8] ~= '1' then b.runs[#b.runs + 1] = math.max(run, tonumber(ARGV[i + 6]))
      elseif ARGV[i + 9] == '2' then b.failures[#b.failures + 1] = { run = run, budget = tonumber(ARGV[i + 6]) }
      else b.runs[#b.runs + 1], b.in_time = run, b.in_time + 1 end
    end
  end
end
put_all_away()
send()
promote()
lay()
for _, b in pairs(batches) do
  if b.ended then measure(b, now) end
end
out[2] = garbage
return out
