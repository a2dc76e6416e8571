-- Joined before complete: the figures of the admission rule (overload.md).
-- mean: of run times, a late one counting as a whole budget. done, busy: answers in time, and the time in which they
--   came, over seconds while a queue stood; completions per second would call a quiet route slow.
-- Invariant: mark moves with every completion, or flapping would look like a stall. Without a sample there is no mean:
--   one of 0 would open the door wide. A failure in time never makes a route look faster than its answers: it is a
--   sample only where it took longer, and of a completion as much as it took of a run.
local function measure(b, now)
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
  if mark and in_line(b.route) > call('ZCARD', P .. 'running:' .. b.route) then
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
