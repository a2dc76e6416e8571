#!lua flags=allow-oom
-- Deletes keys of the namespace that have another type than the catalogue of keys says: each of them fails the scripts
-- that need it. A call takes a step of the scan; whoever begins goes on until the cursor is 0 again.
--
-- KEYS[1]  prefix
-- ARGV[1]  cursor, of the step before; 0 begins
-- ARGV[2]  period_ms: nothing is begun if somebody did less than this ago, at most a minute
-- ARGV[3]  step: about so many keys of the database are looked at
-- ARGV[i]  name of a key, up to its first colon, for each of the catalogue
-- ARGV[i + 1]  type
-- Returns {cursor, then the names of the keys deleted}.
--
-- What is not in the catalogue is left alone: another release may have put it there.
--- @include lib/tasks
local cursor, period_ms, lock, types = ARGV[1], tonumber(ARGV[2]), P .. 'repair', {}
if cursor == '0' then
  local ago = 60000 - call('PTTL', lock)
  if ago >= 0 and ago < period_ms then return { '0' } end -- below 0 the key is none of ours
  call('SET', lock, '', 'PX', 60000)
end
for i = 4, #ARGV, 2 do types[ARGV[i]] = ARGV[i + 1] end

-- Invariant: a task has a slot. Without one reap would never come to it, and its record would stay.
local function restore_slots(route)
  local ids = redis.pcall('HKEYS', P .. 'tasks') -- it may be malformed as well, and then none is left
  for _, id in ipairs(ids) do
    if route_of(id) == route then
      local t = load_task(id)
      call('ZADD', P .. 'slots:' .. route, t and t.deadline or 0, id)
    end
  end
end

local found = call('SCAN', cursor, 'MATCH', P .. '*', 'COUNT', ARGV[3])
local out = { found[1] }
for _, key in ipairs(found[2]) do
  local name, per = string.match(string.sub(key, #P + 1), '^([^:]*):?(.*)$')
  local kind = call('TYPE', key).ok
  if types[name] and kind ~= types[name] and kind ~= 'none' then
    call('DEL', key)
    if name == 'slots' then restore_slots(per) end
    out[#out + 1] = key
  end
end
return out
