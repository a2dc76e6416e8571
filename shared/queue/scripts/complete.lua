-- Purpose: end runs: free the slots, reply, note the service time. May be repeated blindly.
-- KEYS: prefix. ARGV per task: lease id route inbox budget_ms run_ms in_time(0/1) sample(0/1) reply('' = nobody waits)
-- Returns: {now, garbage, then per task 1, or 0 where the lease was gone and nothing changed}
-- Invariant: the gate (ZREM running) opens once per lease. `mean` counts a late run as a whole budget (overload.md).
local out, samples = { clock(), 0 }, {}
for i = 1, #ARGV, 9 do
  local id, route = ARGV[i + 1], ARGV[i + 2]
  local held = call('ZREM', P .. 'running:' .. route, ARGV[i])
  out[#out + 1] = held
  if held == 1 then
    local wanted = call('HGET', P .. 'marks', id) ~= 'x'
    if finish(id, route) and wanted and ARGV[i + 8] ~= '' then reply(ARGV[i + 3], ARGV[i + 8]) end
    if wanted and ARGV[i + 7] == '1' then
      local run, s = tonumber(ARGV[i + 5]), samples[route] or {}
      if ARGV[i + 6] ~= '1' then run = math.max(run, tonumber(ARGV[i + 4])) end
      s[#s + 1] = run
      samples[route] = s
    end
  end
end
send()
for route, runs in pairs(samples) do
  local figures = P .. 'figures:' .. route
  local h = call('HMGET', figures, 'mean', 'seen')
  local mean, seen = tonumber(h[1] or '') or 0, tonumber(h[2] or '') or 0
  for _, run in ipairs(runs) do
    seen = math.min(20, seen + 1)
    mean = mean + math.max(1 / seen, 1 / 20) * (run - mean)
  end
  call('HSET', figures, 'mean', string.format('%.6g', mean), 'seen', seen)
end
return out
