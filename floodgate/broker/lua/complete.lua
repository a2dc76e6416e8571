#!lua flags=allow-oom
-- Ends runs: frees the slots, sends the replies, measures for the admission rule. May be repeated blindly.
--
-- KEYS[1]  prefix
-- ARGV[i]  lease, for each run
-- ARGV[i + 1]  id
-- ARGV[i + 2]  route
-- ARGV[i + 3]  lane
-- ARGV[i + 4]  flow
-- ARGV[i + 5]  inbox
-- ARGV[i + 6]  budget_ms
-- ARGV[i + 7]  run_ms
-- ARGV[i + 8]  in_time: 1 = ended before its deadline, whatever the outcome
-- ARGV[i + 9]  sample: 0 = its time says nothing
-- ARGV[i + 10]  reply; '' = nobody waits
-- ARGV[i + 11]  failed: 1 = the handler raised
-- ARGV[i + 12]  streamed: 1 = its head was in time and has been measured; run_ms is how long it held its place
-- Returns {now, then per run 1, or 0 where the lease was gone and nothing changed}.
--
-- Invariant: `end_lease` is true once per lease, so a repeated call frees and answers nothing twice.
--- @include lib/promotion
--- @include lib/runs
local PER_RUN = 13
local now, batches, markers = server_time(), {}, {}
local out = { now }

-- The statistics of the admission rule. mean_ms: of run times, a late one counting as a whole budget. completed and
-- busy_ms: answers in time, and the time in which they came, while a queue stood; answers per second would call a quiet
-- route slow. last_completion_at: of whatever ended, while a queue stands.
-- Invariant: last_completion_at moves with every completion, or a short rest would look like a stall. Without a sample
-- there is no mean: one of 0 would admit everybody. A failure in time never makes a route look faster than its answers:
-- it is a sample only where it took longer, and of a completion as much as it took of a run.
local function measure(b)
  local statistics, name = P .. 'statistics:' .. b.route, function(n) return field(b.flow, n) end
  local h = call('HMGET', statistics, name('mean_ms'), name('samples'), name('last_completion_at'), name('completed'),
    name('busy_ms'), name('measured_at'))
  local mean_ms, samples = num(h[1]) or 0, num(h[1]) and num(h[2]) or 0
  local last_completion, fresh = num(h[3]), { statistics }
  local sampled, in_time = false, b.in_time
  local function sample(run)
    samples, sampled = math.min(20, samples + 1), true
    mean_ms = mean_ms + math.max(1 / samples, 1 / 20) * (run - mean_ms)
  end
  for _, run in ipairs(b.runs) do sample(run) end
  for _, failure in ipairs(b.failures) do
    local usual = math.max(0.1, samples > 0 and mean_ms or failure.budget / 4)
    in_time = in_time + math.min(1, failure.run / usual)
    if failure.run > usual then sample(failure.run) end
  end
  local function note(n, value) fresh[#fresh + 1], fresh[#fresh + 2] = name(n), value end
  if sampled then
    note('mean_ms', string.format('%.6g', mean_ms))
    note('samples', samples)
  end
  if last_completion and in_system(b.route) > call('ZCARD', P .. 'running:' .. b.route) then
    if b.saturated then
      local passed = math.max(0, now - last_completion)
      local fade = math.exp(-passed / math.max(2000, 4 * mean_ms)) * remembered(num(h[6]), last_completion)
      note('completed', string.format('%.6g', (num(h[4]) or 0) * fade + in_time))
      note('measured_at', now)
      note('busy_ms', string.format('%.6g', (num(h[5]) or 0) * fade + passed))
    end
    note('last_completion_at', now)
  end
  if #fresh > 1 then call('HSET', unpack(fresh)) end
end

-- Before the first write: whether somebody waits for the places that come free.
for i = 1, #ARGV, PER_RUN do
  local route, lane, flow = ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  local sort = field(flow, route)
  if markers[lane] == nil then markers[lane] = call('LLEN', P .. 'wake:' .. lane) > 0 end
  local b = batches[sort] or { route = route, flow = flow, runs = {}, failures = {}, in_time = 0 }
  b.saturated, batches[sort] = b.saturated or markers[lane] or parked_count(route) > 0, b
end
for i = 1, #ARGV, PER_RUN do
  local lease, id, route, flow, inbox = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 4], ARGV[i + 5]
  local budget, run, in_time, sample = ARGV[i + 6], ARGV[i + 7], ARGV[i + 8], ARGV[i + 9]
  local answer, failed, streamed = ARGV[i + 10], ARGV[i + 11], ARGV[i + 12]
  local held = end_lease(route, lease, id)
  out[#out + 1] = held and 1 or 0
  if held then
    local b, wanted = batches[field(flow, route)], attempts_of(id) ~= CANCELLED
    run, budget, b.ended = tonumber(run), tonumber(budget), true
    if not wanted or answer ~= '' and not settle_record(id, answer, true, reply) then answer = '' end
    if finish(id, route, flow) and answer ~= '' then reply(inbox, answer, id) end
    if streamed == '1' then -- whoever left meanwhile, its place comes free
      b.runs[#b.runs + 1], b.in_time = run, b.in_time + 1
    elseif wanted and sample ~= '0' then
      if in_time ~= '1' then b.runs[#b.runs + 1] = math.max(run, budget)
      elseif failed == '1' then b.failures[#b.failures + 1] = { run = run, budget = budget }
      else b.runs[#b.runs + 1], b.in_time = run, b.in_time + 1 end
    end
  end
end
remove_all_holders()
send_replies()
promote()
signal_ready()
for _, b in pairs(batches) do
  if b.ended then measure(b) end
end
return out
