-- `concurrency` is derived from `serving`, so it cannot drift: <lane> is the sum over the consumers that serve it, and
-- <lane>| the sums of their groups. A consumer's name ends in its own concurrency. Returns the lane's consumers.
--- @include lib/prelude
local function count_concurrency(lane)
  local sum, groups, list, consumers = 0, {}, {}, call('ZRANGE', P .. 'serving:' .. lane, 0, -1)
  for _, consumer in ipairs(consumers) do
    local group, concurrency = string.match(consumer, '^[^-.#]*([^#]+)%.(%d+)$')
    sum = sum + (tonumber(concurrency) or 0)
    if group then groups[group] = (groups[group] or 0) + concurrency end
  end
  for group, concurrency in pairs(groups) do list[#list + 1] = group .. '=' .. concurrency end
  table.sort(list) -- in another order it would look changed, and reap would write all holders anew
  if sum > 0 then call('HSET', P .. 'concurrency', lane, sum, lane .. '|', table.concat(list, ' '))
  else call('HDEL', P .. 'concurrency', lane, lane .. '|', lane .. '|rates') end
  return consumers
end
