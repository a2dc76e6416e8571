#!lua flags=allow-oom
-- Carries parts of streamed answers to the gateways that wait for them. May be repeated blindly: parts are numbered,
-- and a gateway drops those that it had.
--
-- KEYS[1]  prefix
-- ARGV[i]  lease, for each run
-- ARGV[i + 1]  id
-- ARGV[i + 2]  route
-- ARGV[i + 3]  inbox
-- ARGV[i + 4]  until_ms, with the first part: when the whole stream has to end; 0 with all others
-- ARGV[i + 5]  head_ms, with the first part: how long it took
-- ARGV[i + 6]  chunk, packed; '' = this run only asks
-- Returns {now, then per run: code, acknowledged}.
--   codes: 0 its lease is gone, 1 held, 2 nobody waits any more
--   acknowledged: bytes that its client has taken
--
-- Invariant: only a run whose lease is there writes, so nothing follows the end that `complete` has written. Parts of
-- two runs do not fit together, so the first part uses up the attempts, before it is sent.
--- @include lib/presence
local GONE, HELD, UNWANTED, PER_RUN = 0, 1, 2, 7
local now = server_time()
local out = { now }

-- The time to the head, of which alone admission judges whether a newcomer would be in time.
local function measure_head(t, head_ms)
  local statistics, name = P .. 'statistics:' .. t.route, function(n) return field(t.flow, n) end
  local h = call('HMGET', statistics, name('head_ms'), name('heads'))
  local mean_ms, heads = num(h[1]) or 0, math.min(20, (num(h[1]) and num(h[2]) or 0) + 1)
  mean_ms = mean_ms + math.max(1 / heads, 1 / 20) * (head_ms - mean_ms)
  call('HSET', statistics, name('head_ms'), string.format('%.6g', mean_ms), name('heads'), heads)
end

-- The head has come in time, and from here on the deadline is that of the whole. Returns whether the task is there.
local function begin(id, route, until_ms, head_ms)
  local blob = call('HGET', P .. 'tasks', id)
  local t = parse(blob)
  if not t then return false end
  local record = attempts_of(id) or ''
  if used_in(record) < t.attempts then measure_head(t, head_ms) end -- else the call is repeated
  set_attempts(id, math.max(1, t.attempts) .. (string.match(record, '^%d+(.*)$') or ''))
  call('HSET', P .. 'tasks', id, string.format('%013d', until_ms) .. string.sub(blob, 14))
  call('ZADD', P .. 'slots:' .. route, 'XX', until_ms, id)
  local inflight = tenant_key(t.flow)
  if inflight then
    call('ZADD', inflight, 'XX', until_ms, id)
    call('PEXPIRE', inflight, 7200000)
  end
  return true
end

local function send(lease, id, route, inbox, until_ms, head_ms, chunk)
  if not call('ZSCORE', P .. 'running:' .. route, lease) then return GONE end
  if attempts_of(id) == CANCELLED or is_gone(inbox, now) then return UNWANTED end
  if until_ms > 0 and not begin(id, route, until_ms, head_ms) then return GONE end
  if chunk ~= '' then reply(inbox, chunk, id) end
  return HELD
end

for i = 1, #ARGV, PER_RUN do
  local id, inbox = ARGV[i + 1], ARGV[i + 3]
  out[#out + 1] = send(ARGV[i], id, ARGV[i + 2], inbox, tonumber(ARGV[i + 4]), tonumber(ARGV[i + 5]),
    ARGV[i + 6])
  out[#out + 1] = num(call('HGET', P .. 'acknowledged:' .. inbox, id)) or 0
end
send_replies()
return out
