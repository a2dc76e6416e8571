-- Joined before complete: the figures of the admission rule (overload.md).
-- mean: of run times, a late one counting as a whole budget. done, busy: answers in time, and the time in which they
--   came, over seconds while a queue stood; completions per second would call a quiet route slow.
-- Invariant: mark moves with every completion, or flapping would look like a stall.
local function measure(b, now)
  local figures, name = P .. 'figures:' .. b.route, function(n) return field(b.flow, n) end
  local h = call('HMGET', figures, name('mean'), name('seen'), name('mark'), name('done'), name('busy'))
  local mean, seen, mark = tonumber(h[1] or '') or 0, tonumber(h[2] or '') or 0, tonumber(h[3] or '')
  for _, run in ipairs(b.runs) do
    seen = math.min(20, seen + 1)
    mean = mean + math.max(1 / seen, 1 / 20) * (run - mean)
  end
  local fresh = { figures, name('mean'), string.format('%.6g', mean), name('seen'), seen }
  if mark and call('ZCARD', P .. 'slots:' .. b.route) > call('ZCARD', P .. 'running:' .. b.route) then
    if b.saturated then
      local since = math.max(0, now - mark)
      local fade = math.exp(-since / math.max(2000, 4 * mean))
      fresh[#fresh + 1], fresh[#fresh + 2] = name('done'), string.format('%.6g', (tonumber(h[4] or '') or 0) * fade + b.in_time)
      fresh[#fresh + 1], fresh[#fresh + 2] = name('busy'), string.format('%.6g', (tonumber(h[5] or '') or 0) * fade + since)
    end
    fresh[#fresh + 1], fresh[#fresh + 2] = name('mark'), now
  end
  if #b.runs > 0 or #fresh > 5 then call('HSET', unpack(fresh)) end
end
