-- Joined before admit: whose turn it is (start-time fair queueing).
-- Tenants of a route and class have their finish tags in a key of their own, where those that asked lately are counted.
local LATELY = 10 -- turns: whoever asks for a tenth of its share is counted all the time
local MOST_SHARERS = 10000 -- names may come from outside; who is trimmed is as one that has not asked
local flows = {}
-- A clock begins anew when nothing waits, or is lost, and knows nothing of the tags of before. It may be another route
-- that sees it first, so '' in the key says what virtual time was: it never goes back.
local function share_turns(k, f)
  f.kind, f.key = 'turns', turns_of(k.lane, k.route, k.weight)
  on_loose('ZREMRANGEBYSCORE', f.key, '-inf', f.virtual and string.format('(%.17g', f.virtual - LATELY * f.step) or '+inf')
  local s = call('ZMSCORE', f.key, '', f.name)
  if f.virtual and (num(s[1]) or 0) > f.virtual then
    call('DEL', f.key)
    s = {}
  end
  local others = call('ZCARD', f.key) - (s[1] and 1 or 0) - (s[2] and 1 or 0)
  if others > MOST_SHARERS then call('ZPOPMIN', f.key, others - MOST_SHARERS) end
  if not f.virtual then add('clock', f.clock, 0, '') end
  f.virtual, f.sharers = f.virtual or 0, others + 1
  -- it is ahead of virtual time by what it has itself, and by nothing else
  f.finish = math.min(num(s[2]) or 0, f.virtual + (helds[k.keep] + 1) * f.step)
end
local function flow_of(k)
  local c, flow = P .. 'clock:' .. pool(k.lane), k.flow
  local f = flows[c .. '\n' .. flow]
  if f then return f end
  f = { clock = c, name = flow, kind = 'clock', key = c, step = math.max(1, k.sheet.mean or 10) / k.weight }
  flows[c .. '\n' .. flow] = f
  local s = call('ZMSCORE', c, '', flow)
  f.virtual, f.finish = num(s[1]), num(s[2]) or 0
  if k.keep then share_turns(k, f) end
  f.virtual = f.virtual or 0
  return f
end
local function tag_of(k)
  local f = flow_of(k)
  local tag = math.max(f.virtual, f.finish)
  f.finish = tag + f.step
  add(f.kind, f.key, f.finish, f.name)
  if f.sharers then add('turns', f.key, f.virtual, '') end
  return tag
end
