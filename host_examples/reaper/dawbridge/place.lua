--- Puts results into the project: one undo step, positions and lengths as they were asked for.
--
-- A plan says where: { project, position, length = seconds in the project or nil for all of it, track, track_id, item, item_id,
-- like = how the new takes play }. With an item the results become takes of it, else takes of a new item.

local order = require("dawbridge.order")

local place = {}

local COLOUR = { 74, 144, 190 }
local BUILD_MISSING_PEAKS = 40047 -- Peaks: Build any missing peaks
local ALL_STATES = -1
local CLEARANCE = 1e-6

local function item_id(item)
  local _, id = reaper.GetSetMediaItemInfo_String(item, "GUID", "", false)
  return id
end

--- Names the plan's track and item so that they are found again, even after they were deleted and that was undone.
function place.plan(fields)
  fields.track_id = fields.track and reaper.GetTrackGUID(fields.track)
  fields.item_id = fields.item and item_id(fields.item)
  return fields
end

--- How a take and its item play, for one that is to sound like it.
function place.like(take)
  local item = reaper.GetMediaItemTake_Item(take)
  local like = { item_volume = reaper.GetMediaItemInfo_Value(item, "D_VOL") }
  for _, name in ipairs({ "D_VOL", "D_PAN", "D_PITCH", "D_PLAYRATE", "B_PPITCH", "I_CHANMODE" }) do
    like[name] = reaper.GetMediaItemTakeInfo_Value(take, name)
  end
  return like
end

local function still_there(project, pointer, kind)
  return pointer ~= nil and reaper.ValidatePtr2(project, pointer, kind)
end

local function find_track(plan)
  if still_there(plan.project, plan.track, "MediaTrack*") then
    return plan.track
  end
  for index = 0, reaper.CountTracks(plan.project) - 1 do
    local track = reaper.GetTrack(plan.project, index)
    if reaper.GetTrackGUID(track) == plan.track_id then
      return track
    end
  end
end

local function find_item(plan)
  if still_there(plan.project, plan.item, "MediaItem*") then
    return plan.item
  end
  for index = 0, reaper.CountMediaItems(plan.project) - 1 do
    local item = reaper.GetMediaItem(plan.project, index)
    if item_id(item) == plan.item_id then
      return item
    end
  end
end

local function is_free(track, from, to)
  for index = 0, reaper.CountTrackMediaItems(track) - 1 do
    local item = reaper.GetTrackMediaItem(track, index)
    local starts = reaper.GetMediaItemInfo_Value(item, "D_POSITION")
    local ends = starts + reaper.GetMediaItemInfo_Value(item, "D_LENGTH")
    if starts < to - CLEARANCE and ends > from + CLEARANCE then
      return false
    end
  end
  return true
end

-- A new track below the one that has no room, or at the end. Only the project in front can get one in Reaper 6.
local function new_track(plan, below)
  local index = below and math.floor(reaper.GetMediaTrackInfo_Value(below, "IP_TRACKNUMBER")) or reaper.CountTracks(plan.project)
  reaper.InsertTrackAtIndex(index, true)
  local track = reaper.GetTrack(plan.project, index)
  reaper.GetSetMediaTrackInfo_String(track, "P_NAME", "daw-bridge", true)
  return track
end

local function fill(take, source, result, plan, offset)
  reaper.SetMediaItemTake_Source(take, source)
  for name, value in pairs(plan.like or {}) do
    if name ~= "item_volume" then
      reaper.SetMediaItemTakeInfo_Value(take, name, value)
    end
  end
  reaper.SetMediaItemTakeInfo_Value(take, "D_STARTOFFS", offset)
  reaper.GetSetMediaItemTakeInfo_String(take, "P_NAME", result.name, true)
  reaper.GetSetMediaItemTakeInfo_String(take, "P_EXT:dawbridge", result.order_text, true)
end

local function note(item, results)
  local _, notes = reaper.GetSetMediaItemInfo_String(item, "P_NOTES", "", false)
  local lines = notes ~= "" and { notes } or {}
  for _, result in ipairs(results) do
    lines[#lines + 1] = ("%s\nseed %d\n%s"):format(result.name, result.seed, result.path)
  end
  reaper.GetSetMediaItemInfo_String(item, "P_NOTES", table.concat(lines, "\n\n"), true)
end

local function new_item(plan, sources, results)
  local rate = plan.like and plan.like.D_PLAYRATE or 1
  local made = 0
  for _, result in ipairs(results) do
    made = math.max(made, result.seconds / rate)
  end
  local length = math.min(plan.length or made, made)
  local track = plan.track_id and find_track(plan)
  if not track or not is_free(track, plan.position, plan.position + length) then
    track = new_track(plan, track)
  end
  local item = reaper.AddMediaItemToTrack(track)
  reaper.SetMediaItemInfo_Value(item, "D_POSITION", plan.position)
  reaper.SetMediaItemInfo_Value(item, "D_LENGTH", length)
  reaper.SetMediaItemInfo_Value(item, "B_LOOPSRC", 0)
  reaper.SetMediaItemInfo_Value(item, "D_FADEINLEN", 0) -- what leads over is in the sound itself
  reaper.SetMediaItemInfo_Value(item, "I_CUSTOMCOLOR", reaper.ColorToNative(table.unpack(COLOUR)) | 0x1000000)
  if plan.like then
    reaper.SetMediaItemInfo_Value(item, "D_VOL", plan.like.item_volume)
  end
  for index, result in ipairs(results) do
    fill(reaper.AddTakeToMediaItem(item), sources[index], result, plan, 0)
  end
  reaper.SetActiveTake(reaper.GetTake(item, 0))
  return item
end

local function more_takes(item, sources, results, plan)
  local active = reaper.GetActiveTake(item)
  local offset = active and reaper.GetMediaItemTakeInfo_Value(active, "D_STARTOFFS") or 0
  local first
  for index, result in ipairs(results) do
    local take = reaper.AddTakeToMediaItem(item)
    fill(take, sources[index], result, plan, offset)
    first = first or take
  end
  reaper.SetActiveTake(first)
  return item
end

local function sources_of(results)
  local sources = {}
  for index, result in ipairs(results) do
    sources[index] = reaper.PCM_Source_CreateFromFile(result.path)
    if not sources[index] then
      for _, source in ipairs(sources) do
        reaper.PCM_Source_Destroy(source)
      end
      return nil, "Reaper cannot read " .. result.path
    end
  end
  return sources
end

-- Where it belongs, or why it cannot be placed there any more.
local function obstacle(plan)
  if plan.item_id and not find_item(plan) then
    return "The item is gone."
  elseif plan.track_id and not find_track(plan) then
    return "The track is gone."
  end
end

--- Whether the plan's project is still open, and whether it is the one in front.
function place.project_state(plan)
  if not reaper.ValidatePtr2(0, plan.project, "ReaProject*") then
    return "closed"
  end
  return reaper.EnumProjects(-1) == plan.project and "in front" or "behind"
end

--- Places results in one undo step.
-- @param results list of { path, seconds, seed, name, order_text }
-- @return the item, or nil and why not: then the project is as it was
function place.results(plan, results, undo_name)
  local problem = obstacle(plan)
  if problem then
    return nil, problem
  end
  local sources, unreadable = sources_of(results)
  if not sources then
    return nil, unreadable
  end
  reaper.Undo_BeginBlock2(plan.project)
  reaper.PreventUIRefresh(1)
  local fine, item = pcall(function()
    local placed = plan.item_id and more_takes(find_item(plan), sources, results, plan) or new_item(plan, sources, results)
    note(placed, results)
    reaper.SelectAllMediaItems(plan.project, false)
    reaper.SetMediaItemSelected(placed, true)
    return placed
  end)
  reaper.PreventUIRefresh(-1)
  reaper.Undo_EndBlock2(plan.project, undo_name, ALL_STATES)
  reaper.UpdateArrange()
  if not fine then
    return nil, "Reaper refused to place the result: " .. tostring(item)
  end
  reaper.Main_OnCommandEx(BUILD_MISSING_PEAKS, 0, plan.project)
  return item
end

--- The order of an item's active take, where these scripts made it.
function place.order_of(item)
  local take = reaper.GetActiveTake(item)
  if not take then
    return nil
  end
  local found, line = reaper.GetSetMediaItemTakeInfo_String(take, "P_EXT:dawbridge", "", false)
  return found and line ~= "" and order.parse(line) or nil
end

return place
