-- Dead letters: copies of tasks that were lost after their last attempt, in the stream `dead`. Bounded by construction:
-- so many entries, the last ones, each of at most 16 KiB and what Redis adds; and by age, which reap sees to.
--- @include lib/tasks
local MOST_LETTER, MOST_NAME, MOST_NAMES = 16384, 256, 1024 -- bytes
local MOST_PATH, MOST_QUERY, MOST_REST = 1024, 2048, 8192
local LETTERS_MS = 604800000 -- seven days

local function clip(text, most) return type(text) == 'string' and string.sub(text, 1, most) or '' end

-- What is kept of a task that is too large, or of which nothing confidential may be kept: not enough to run it again.
-- The worker's part is {version, request_id, caller, path, query, headers, body, claims}; headers and body are bytes,
-- which cmsgpack cannot read, so the beginning of these is kept as it is.
local function add_parts(letter, blob, keeps_body)
  local function add(name, value) letter[#letter + 1], letter[#letter + 2] = name, value end
  local at, parts = 0, {}
  local ok = pcall(function()
    at = cmsgpack.unpack_one(blob, 13) + 1
    for i = 1, 5 do at, parts[i] = cmsgpack.unpack_one(blob, at) end
  end)
  if not ok then return end
  local path = type(parts[4]) == 'table' and next(parts[4]) and cmsgpack.pack(parts[4]) or ''
  add('request_id', clip(parts[2], MOST_NAME))
  add('caller', clip(parts[3], MOST_NAME))
  if #path <= MOST_PATH then add('path', path) end
  if keeps_body then
    add('query', clip(parts[5], MOST_QUERY))
    add('rest', string.sub(blob, at + 1, at + MOST_REST))
  end
end

-- `record` is what stands in `attempts` of the task, or false. The lease is gone already: whatever fails here, the task
-- is answered.
local function bury(id, t, record, now)
  local key, blob = P .. 'dead', call('HGET', P .. 'tasks', id)
  local set = redis.pcall('HMGET', P .. 'reap', 'dead_entries', 'dead_bodies')
  local release = redis.pcall('HGET', P .. 'releases', string.match(t.lane, '^[^:]*'))
  local letter = {
    'id', clip(id, MOST_NAME), 'attempts', used_in(record), 'workers', clip(workers_in(record), MOST_NAMES),
    'signature', clip(digest_in(type(release) == 'string' and release, t.route), MOST_NAME),
  }
  if #blob <= MOST_LETTER and set[2] == '1' then letter[#letter + 1], letter[#letter + 2] = 'blob', blob
  else
    letter[#letter + 1], letter[#letter + 2] = 'cut', #blob
    add_parts(letter, blob, set[2] == '1')
  end
  local function add(entry)
    return type(redis.pcall('XADD', key, 'MAXLEN', num(set[1]) or 780, entry, unpack(letter))) == 'string'
  end
  -- after a clock has stepped back, the entries before have later ids, and Redis numbers this one after them
  if add(now .. '-*') or add('*') then call('EXPIRE', key, LETTERS_MS / 1000) end
end

local function drop_old_letters(now)
  redis.pcall('XTRIM', P .. 'dead', 'MINID', string.format('%d', now - LETTERS_MS))
end
