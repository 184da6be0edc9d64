--- The part of an audio file that an item plays last, handed over by path, start and length: nothing is copied.

local region = {}

local SHORTEST = 0.5 -- seconds: less tells the model nothing
local SAME_SECONDS = 1e-6

-- The file behind a take's source, through sections. Returns the file's source, and where in it the section begins and how long it is.
local function root_of(source)
  local start, length = 0, nil
  for _ = 1, 8 do -- sections of sections; a bound, so that no loop of sources can hang
    local is_section, offset, section_length, reversed = reaper.PCM_Source_GetSectionInfo(source)
    if is_section and reversed then
      return nil, "The item plays its source backwards. Glue it first (Item: Glue items)."
    elseif is_section then
      start = start + offset
      length = length or (section_length > 0 and section_length or nil)
    end
    local parent = reaper.GetMediaSourceParent(source)
    if not parent then
      return source, start, length
    end
    source = parent
  end
  return nil, "The item's source is nested too deep. Glue it first (Item: Glue items)."
end

-- Where the last stretch of the source that sounds without a jump begins, and its length; `first` and `length` are of the item.
local function last_pass(first, length, whole, looped)
  local ends = first + length
  if first < 0 then -- silence before the source
    first = 0
  end
  if ends <= whole + SAME_SECONDS then
    return first, math.min(ends, whole) - first
  elseif not looped then -- silence after the source: there is nothing to go on from where it ends
    return nil, "The item is longer than its source, so it ends in silence. Trim its end first."
  end
  local over = ends % whole
  if over < SAME_SECONDS then
    return 0, whole
  elseif over < SHORTEST then
    return nil, "The item's loop has only just begun again at its end. Glue it first (Item: Glue items)."
  end
  return 0, over
end

local function refusal(take)
  if not take then
    return "The item is empty."
  elseif reaper.TakeIsMIDI(take) then
    return "This is a MIDI item: use the action “Follow the selected MIDI item”."
  elseif reaper.GetTakeNumStretchMarkers(take) > 0 then
    return "The take has stretch markers. Glue it first (Item: Glue items)."
  end
end

--- The last `context` seconds of what an item's active take plays.
-- @return { path, start, length = seconds in the file, rate = how much faster it plays }, or nil and why not
function region.of(item, context)
  local take = reaper.GetActiveTake(item)
  local problem = refusal(take)
  if problem then
    return nil, problem
  end
  local source, section_start, section_length = root_of(reaper.GetMediaItemTake_Source(take))
  if not source then
    return nil, section_start
  end
  local path = reaper.GetMediaSourceFileName(source)
  local whole, in_quarters = reaper.GetMediaSourceLength(source)
  if path == "" or in_quarters then
    return nil, "The item does not play an audio file. Glue it first (Item: Glue items)."
  end
  local rate = reaper.GetMediaItemTakeInfo_Value(take, "D_PLAYRATE")
  local start, length = last_pass(
    reaper.GetMediaItemTakeInfo_Value(take, "D_STARTOFFS"),
    reaper.GetMediaItemInfo_Value(item, "D_LENGTH") * rate,
    section_length or (whole - section_start),
    reaper.GetMediaItemInfo_Value(item, "B_LOOPSRC") == 1
  )
  if not start then
    return nil, length
  elseif length < SHORTEST then
    return nil, ("The item is too short to go on from: %.2f s, at least %.1f s are needed."):format(length, SHORTEST)
  end
  local handed = math.min(length, context)
  return { path = path, start = section_start + start + length - handed, length = handed, rate = rate }
end

return region
