--- Results that could not be placed: the project was closed, or track or item are gone. They are kept until they are placed or dropped.

local order = require("dawbridge.order")
local settings = require("dawbridge.settings")

local kept = {}

local KEY = "kept"
local MOST = 32

--- All of them, the oldest first: { path, seconds, seed, name, order_text }.
function kept.all()
  local results = {}
  for line in reaper.GetExtState(settings.SECTION, KEY):gmatch("[^\n]+") do
    local fields = order.unpack(line)
    fields.seconds, fields.seed = tonumber(fields.seconds), math.floor(tonumber(fields.seed) or 0)
    if fields.path and fields.seconds then
      results[#results + 1] = fields
    end
  end
  return results
end

local function write(results)
  local lines = {}
  for index = math.max(1, #results - MOST + 1), #results do
    lines[#lines + 1] = order.pack(results[index])
  end
  reaper.SetExtState(settings.SECTION, KEY, table.concat(lines, "\n"), true)
end

--- Keeps results; beyond 32 the oldest are forgotten (their files are not deleted).
function kept.add(results)
  local all = kept.all()
  table.move(results, 1, #results, #all + 1, all)
  write(all)
end

--- Forgets all of them; their files are not deleted.
function kept.clear()
  reaper.DeleteExtState(settings.SECTION, KEY, true)
end

return kept
