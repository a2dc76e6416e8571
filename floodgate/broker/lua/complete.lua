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
-- ARGV[i + 9]  sample: 0 = its time says nothing, 1 = an answer, 2 = a failure
-- ARGV[i + 10]  reply; '' = nobody waits
-- Returns {now, malformed, then per run 1, or 0 where the lease was gone and nothing changed}.
--
-- Invariant: `end_lease` is true once per lease, so a repeated call frees and answers nothing twice.
--- @include lib/promotion
--- @include lib/runs
local PER_RUN = 11
local now, batches, markers = server_time(), {}, {}
local out = { now, 0 }

-- The statistics of the admission rule. mean: of run times, a late one counting as a whole budget. done, busy: answers
-- in time, and the time in which they came, while a queue stood; completions per second would call a quiet route slow.
-- Invariant: mark moves with every completion, or a short rest would look like a stall. Without a sample there is no
-- mean: one of 0 would admit everybody. A failure in time never makes a route look faster than its answers: it is a
-- sample only where it took longer, and of a completion as much as it took of a run.
local function measure(b)
  local figures, name = P .. 'figures:' .. b.route, function(n) return field(b.flow, n) end
  local h = call('HMGET', figures, name('mean'), name('seen'), name('mark'), name('done'), name('busy'), name('at'))
  local mean, seen, mark, fresh = num(h[1]) or 0, num(h[1]) and num(h[2]) or 0, num(h[3]), { figures }
  local sampled, in_time = false, b.in_time
  local function sample(run)
    seen, sampled = math.min(20, seen + 1), true
    mean = mean + math.max(1 / seen, 1 / 20) * (run - mean)
  end
  for _, run in ipairs(b.runs) do sample(run) end
  for _, failure in ipairs(b.failures) do
    local usual = math.max(0.1, seen > 0 and mean or failure.budget / 4)
    in_time = in_time + math.min(1, failure.run / usual)
    if failure.run > usual then sample(failure.run) end
  end
  local function note(n, value) fresh[#fresh + 1], fresh[#fresh + 2] = name(n), value end
  if sampled then
    note('mean', string.format('%.6g', mean))
    note('seen', seen)
  end
  if mark and in_system(b.route) > call('ZCARD', P .. 'running:' .. b.route) then
    if b.saturated then
      local since = math.max(0, now - mark)
      local fade = math.exp(-since / math.max(2000, 4 * mean)) * remembered(num(h[6]), mark)
      note('done', string.format('%.6g', (num(h[4]) or 0) * fade + in_time))
      note('at', now)
      note('busy', string.format('%.6g', (num(h[5]) or 0) * fade + since))
    end
    note('mark', now)
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
  local budget, run, in_time, sample, answer = ARGV[i + 6], ARGV[i + 7], ARGV[i + 8], ARGV[i + 9], ARGV[i + 10]
  local held = end_lease(route, lease, id)
  out[#out + 1] = held and 1 or 0
  if held then
    local b, wanted = batches[field(flow, route)], attempts_of(id) ~= CANCELLED
    run, budget, b.ended = tonumber(run), tonumber(budget), true
    if finish(id, route, flow) and wanted and answer ~= '' then reply(inbox, answer, id) end
    if wanted and sample ~= '0' then
      if in_time ~= '1' then b.runs[#b.runs + 1] = math.max(run, budget)
      elseif sample == '2' then b.failures[#b.failures + 1] = { run = run, budget = budget }
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
out[2] = malformed
return out
