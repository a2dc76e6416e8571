-- Kept answers of 202s: `result:<id>` until its time is over, and the bytes of all of them in `results`.
--- @include lib/prelude

-- The minute in which something ends, as a field's name. By minutes, the sum is constant work however many there are.
local function minute_of(ends) return string.format('%d', math.ceil(ends / 60000)) end

-- Adds to the bytes of what is kept until then.
local function note_kept(name, ends, size)
  local sums, minute = P .. name, minute_of(ends)
  if redis.pcall('HINCRBY', sums, minute, size) ~= size then return end
  local now = server_time()
  for _, other in ipairs(call('HKEYS', sums)) do -- the first of a minute removes those that have ended
    if (num(other) or 0) * 60000 <= now then call('HDEL', sums, other) end
  end
  if call('PEXPIRETIME', sums) < minute * 60000 then call('PEXPIREAT', sums, string.format('%d', minute * 60000)) end
end

-- `pcall`, since the time to live comes from a task's header: one that SET refuses loses this result and nothing else.
local function keep_result(id, bytes, ttl_s)
  local result = P .. 'result:' .. id
  if redis.pcall('SET', result, bytes, 'EX', ttl_s).err then return end
  note_kept('results', call('PEXPIRETIME', result), #bytes)
end
