--- The stub refuses what Reaper would refuse: each of these calls must fail, and say why. Prints how many were tried.

local here = arg[0]:match("^(.*)/[^/]*$") or "."
package.path = here .. "/?.lua;" .. package.path

local World = require("world")
local world = require("functions")(World.new({ clock = os.clock }))
require("stub").install(world)
local project = world:add_project()
local track = world:add_track(project)
local item = world:add_item(track)
local gone = world:add_item(track)
world:delete_item(gone)

local refused = {
  ["does not exist"] = function() reaper.GetTheMusic() end,
  ["cannot be set"] = function() reaper.GetTrack = print end,
  ["is missing"] = function() reaper.GetTrack(0) end,
  ["at most 2 are taken"] = function() reaper.GetTrack(0, 1, 2) end,
  ["a MediaTrack is wanted"] = function() reaper.AddMediaItemToTrack(item) end,
  ["that is gone"] = function() reaper.GetActiveTake(gone) end,
  ["argument 2 is 1.5"] = function() reaper.GetTrack(0, 1.5) end,
  ["argument 3 is 1, a boolean"] = function() reaper.InsertTrackAtIndex(0, true) reaper.GetSet_LoopTimeRange2(0, false, 1, 0, 0, false) end,
  ["no such value: D_LENGHT"] = function() reaper.SetMediaItemInfo_Value(item, "D_LENGHT", 1) end,
  ["no such text"] = function() reaper.GetSetMediaItemInfo_String(item, "P_NOTE", "", false) end,
  ["was not begun"] = function() reaper.Undo_EndBlock2(0, "x", -1) end,
  ["MediaItem has no position"] = function() return item.position end,
  ["gfx.drawline does not exist"] = function() gfx.drawline(1) end,
  ["gfx.w cannot be set"] = function() gfx.w = "wide" end,
}

local count = 0
for expected, act in pairs(refused) do
  local fine, problem = pcall(act)
  assert(not fine, "not refused: " .. expected)
  assert(tostring(problem):find(expected, 1, true), ("%s instead of %s"):format(tostring(problem), expected))
  count = count + 1
end
assert(#world.loose_edits > 0, "an edit outside an undo step was not noticed")
print(count)
