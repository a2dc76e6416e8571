-- Joined before renew and reap. `places` is derived: the sum over the claimers that serve the lane, and, as <lane>|, the
-- sums of their groups; a claimer's name ends in its own. Returns the claimers.
local function count_places(lane)
  local sum, groups, list, claimers = 0, {}, {}, call('ZRANGE', P .. 'serving:' .. lane, 0, -1)
  for _, claimer in ipairs(claimers) do
    local group, places = string.match(claimer, '^[^-.#]*([^#]+)%.(%d+)$')
    sum = sum + (tonumber(places) or 0)
    if group then groups[group] = (groups[group] or 0) + places end
  end
  for group, places in pairs(groups) do list[#list + 1] = group .. '=' .. places end
  table.sort(list) -- in another order it would look changed, and reap would file all notes anew
  if sum > 0 then call('HSET', P .. 'places', lane, sum, lane .. '|', table.concat(list, ' ')) else call('HDEL', P .. 'places', lane, lane .. '|', lane .. '|pace') end
  return claimers
end
