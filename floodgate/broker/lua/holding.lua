-- Joined before whatever takes, ends or looks for a lease: who runs what, in `holders:<group>`.
-- Invariant: `holders` changes wherever `running` does, in the same script: together they have the same tasks. What a
--   consumer runs that serves no lane any more is filed under `left`, since its places are not counted either.
local ended = {}
local function put_away(file, ids)
  if on_loose('HDEL', file, unpack(ids)) < #ids then on_loose('HDEL', P .. 'holders:left', unpack(ids)) end
  ended[file] = nil
end
local function put_all_away()
  for file, ids in pairs(ended) do put_away(file, ids) end
end
-- The gate of whatever ends a run: true once per lease. Who calls it ends with put_all_away().
local function end_lease(route, lease, id)
  if call('ZREM', P .. 'running:' .. route, lease) == 0 then return false end
  if not id then return true end
  local file = file_of(lease)
  local ids = ended[file] or {}
  ids[#ids + 1], ended[file] = id, ids
  if #ids >= 1000 then put_away(file, ids) end
  return true
end
-- Its consumer serves again, or no more.
local function move_entry(lease, id, serves)
  local from, to = P .. 'holders:left', file_of(lease)
  if not serves then from, to = to, from end
  local entry = redis.pcall('HGET', from, id)
  if type(entry) ~= 'string' then return end
  on_loose('HDEL', from, id)
  on_loose('HSET', to, id, entry)
end
