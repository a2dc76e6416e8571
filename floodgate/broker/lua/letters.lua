#!lua flags=no-writes
-- Reads dead letters, the newest first. What somebody else wrote there is cut, whatever its size.
--
-- KEYS[1]  prefix
-- ARGV[1]  newest: the entry to begin with, '+', or '(<entry>' for those before it
-- ARGV[2]  oldest: the entry to end with, or '-'
-- ARGV[3]  most: at most so many
-- Returns {now, how many there are, then per letter: its entry, and the values of FIELDS, '' where it has none}.
--- @include lib/dead_letters
local FIELDS = {
  'id', 'attempts', 'workers', 'signature', 'cut', 'blob', 'request_id', 'caller', 'path', 'query', 'rest',
}
local key = P .. 'dead'
local count = redis.pcall('XLEN', key)
local out = { server_time(), type(count) == 'number' and count or 0 }
for _, entry in ipairs(redis.pcall('XREVRANGE', key, ARGV[1], ARGV[2], 'COUNT', ARGV[3])) do
  local has, pairs_of = {}, entry[2]
  for i = 1, #pairs_of, 2 do has[pairs_of[i]] = pairs_of[i + 1] end
  out[#out + 1] = entry[1]
  for _, name in ipairs(FIELDS) do out[#out + 1] = clip(has[name], MOST_LETTER) end
end
return out
