-- Joined before admit: whose turn it is (start-time fair queueing).
-- Tenants of a route and class have their finish tags in a key of their own, where those that asked lately are counted.
local LATELY = 10 -- turns: whoever asks for a tenth of its share is counted all the time
local flows = {}
local function flow_of(k)
  local c, flow = P .. 'clock:' .. pool(k.lane), k.flow
  local f = flows[c .. '\n' .. flow]
  if f then return f end
  f = { clock = c, name = flow, kind = 'clock', key = c, step = math.max(1, k.sheet.mean or 10) / k.weight }
  flows[c .. '\n' .. flow] = f
  local s = call('ZMSCORE', c, '', flow)
  f.virtual, f.finish = num(s[1]), num(s[2]) or 0
  if k.keep then
    f.kind, f.key = 'turns', P .. 'turns:' .. pool(k.lane) .. '|' .. k.route .. '|' .. k.weight
    -- a clock that begins anew, since nothing waited, knows nothing of the tags of before
    on_loose('ZREMRANGEBYSCORE', f.key, '-inf', f.virtual and string.format('(%.17g', f.virtual - LATELY * f.step) or '+inf')
    local finish = call('ZSCORE', f.key, flow)
    f.finish, f.sharers = num(finish) or 0, call('ZCARD', f.key) + (finish and 0 or 1)
    if not f.virtual then add('clock', c, 0, '') end
  end
  f.virtual = f.virtual or 0
  return f
end
local function tag_of(k)
  local f = flow_of(k)
  local tag = math.max(f.virtual, f.finish)
  f.finish = tag + f.step
  add(f.kind, f.key, f.finish, f.name)
  return tag
end
