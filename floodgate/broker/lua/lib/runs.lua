-- The gate of whatever ends a run, and who runs what, in `holders:<group>`.
-- Invariant: `holders` changes wherever `running` does, in the same script, so both have the same tasks. What one
-- runs that serves no lane any more stands under `left`, since its concurrency is not counted either.
--- @include lib/prelude

local ended = {}
local function remove_holders(file, ids)
  if redis.pcall('HDEL', file, unpack(ids)) ~= #ids then redis.pcall('HDEL', P .. 'holders:left', unpack(ids)) end
  ended[file] = nil
end
local function remove_all_holders()
  for file, ids in pairs(ended) do remove_holders(file, ids) end
end

-- True once per lease, since ZREM answers 1 once. Whoever calls it ends with remove_all_holders().
local function end_lease(route, lease, id)
  if call('ZREM', P .. 'running:' .. route, lease) == 0 then return false end
  if not id then return true end
  local file = holders_key(lease)
  local ids = ended[file] or {}
  ids[#ids + 1], ended[file] = id, ids
  if #ids >= 1000 then remove_holders(file, ids) end
  return true
end

-- A lease's name is <consumer>#<serial of its claim>#<id>. Returns the serial and the id.
local function parts_of(lease) return string.match(lease, '^[^#]*#([^#]*)#(.+)$') end

-- The run's consumer serves again, or no more.
local function move_holder(lease, id, serves)
  local from, to = P .. 'holders:left', holders_key(lease)
  if not serves then from, to = to, from end
  local entry = call('HGET', from, id)
  if not entry then return end
  call('HSET', to, id, entry)
  call('HDEL', from, id)
end
