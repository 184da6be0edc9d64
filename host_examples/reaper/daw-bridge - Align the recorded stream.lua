-- @description daw-bridge: move takes of the bridge's ReaStream onto the project's beats
-- @version 0.1.0
-- @author daw-bridge
-- @noindex
-- @about
--   For items that were recorded from ReaStream while the bridge sent a channel of marks (`/bridge/reastream 1 marks 1`): one
--   sample of 1.0 on each bar line of its clock, of 0.5 on each other beat. Each selected item is moved so that its first bar
--   line lies on the nearest bar line of the project, and its take plays the channels of the music alone. One step to undo.

local MAX_OFF_MS = 1.0 -- more than this between the last bar and the project's is told
local HEAD_S, TAIL_S = 20.0, 10.0 -- what is read of a long item
local BLOCK = 16384 -- frames read at once
local LEAST_MARK, BAR_MARK = 0.29, 0.58 -- a resampled mark on half a sample has 0.64 of its height
local FAINT = 0.05 -- beside marks their channel is silent
local RINGING = 16 -- samples that a resampled mark may have around it

local CHANMODE_NORMAL, CHANMODE_FIRST, CHANMODE_FIRST_TWO = 0, 3, 67

-- Calls `each(index, buffer, base)` for the item's frames from `first` to before `last`; channel c of one is `buffer[base + c]`.
local function read_frames(accessor, format, first, last, each)
  local buffer = reaper.new_array(BLOCK * format.channels)
  local begin = reaper.GetAudioAccessorStartTime(accessor)
  local at = first
  while at < last do
    local count = math.min(BLOCK, last - at)
    buffer.clear()
    local state = reaper.GetAudioAccessorSamples(
      accessor, format.rate, format.channels, begin + at / format.rate, count, buffer)
    if state < 0 then return false end
    for index = 0, count - 1 do
      each(at + index, buffer, index * format.channels)
    end
    at = at + count
  end
  return true
end

-- The number of the channel that holds marks and nothing else: the last that does; nil where there is none.
local function find_channel(accessor, format)
  local loud, marks = {}, {}
  for channel = 1, format.channels do loud[channel], marks[channel] = 0, 0 end
  read_frames(accessor, format, 0, math.min(format.frames, math.floor(HEAD_S * format.rate)), function(_, buffer, base)
    for channel = 1, format.channels do
      local level = math.abs(buffer[base + channel])
      if level > FAINT then loud[channel] = loud[channel] + 1 end
      if level >= LEAST_MARK then marks[channel] = marks[channel] + 1 end
    end
  end)
  for channel = format.channels, 1, -1 do
    if marks[channel] > 0 and loud[channel] <= RINGING * marks[channel] then return channel end
  end
  return nil
end

-- Where the top of a mark lies between samples, from its neighbours: a parabola through the three.
local function top_of(before, peak, after)
  local bend = before - 2 * peak + after
  if bend == 0 or (math.abs(before) < 1e-6 and math.abs(after) < 1e-6) then return 0 end
  return 0.5 * (before - after) / bend
end

-- The marks of a stretch, in order: {frame = (with its fraction), bar = true or false}.
local function read_marks(accessor, format, channel, first, last)
  local found, before, peak = {}, 0, 0
  read_frames(accessor, format, first, last, function(index, buffer, base)
    local after = buffer[base + channel]
    if peak >= LEAST_MARK and peak >= before and peak > after then
      found[#found + 1] = { frame = index - 1 + top_of(before, peak, after), bar = peak >= BAR_MARK }
    end
    before, peak = peak, after
  end)
  return found
end

-- The project's line nearest to a moment: a bar line, or a beat where `bar` is false. Seconds, and the bar from 1.
local function nearest_line(seconds, bar)
  local beat, measure, beats = reaper.TimeMap2_timeToBeats(0, seconds)
  if bar then
    local line = measure + (beat >= beats / 2 and 1 or 0)
    return reaper.TimeMap2_beatsToTime(0, 0, line), line + 1
  end
  return reaper.TimeMap2_beatsToTime(0, math.floor(beat + 0.5), measure), measure + 1
end

local function first_mark(marks)
  for _, mark in ipairs(marks) do
    if mark.bar then return mark end
  end
  return marks[1]
end

-- How far the last bar line of the item is from the project's once the first one is on it, in seconds.
local function last_error(marks, position, rate)
  for index = #marks, 1, -1 do
    local mark = marks[index]
    if mark.bar then
      local moment = position + mark.frame / rate
      return moment - nearest_line(moment, true)
    end
  end
  return 0
end

local function format_of(item, take)
  local source = reaper.GetMediaItemTake_Source(take)
  local rate = reaper.GetMediaSourceSampleRate(source)
  local length = reaper.GetMediaItemInfo_Value(item, "D_LENGTH")
  return { rate = rate, channels = reaper.GetMediaSourceNumChannels(source), frames = math.floor(length * rate + 0.5) }
end

-- Reads an item: where it must go, what its take plays, and how far its last bar is off. nil and why where it has no marks.
local function plan_for(item, take)
  if reaper.GetMediaItemTakeInfo_Value(take, "D_PLAYRATE") ~= 1 then return nil, "its play rate is not 1" end
  local format = format_of(item, take)
  if format.channels < 2 then return nil, "it has one channel only: record all channels of the ReaStream track" end
  local accessor = reaper.CreateTakeAudioAccessor(take)
  local channel = find_channel(accessor, format)
  local head, tail = {}, {}
  if channel then
    local first_end = math.min(format.frames, math.floor(HEAD_S * format.rate))
    head = read_marks(accessor, format, channel, 0, first_end)
    tail = read_marks(accessor, format, channel, math.max(0, format.frames - math.floor(TAIL_S * format.rate)), format.frames)
  end
  reaper.DestroyAudioAccessor(accessor)
  local mark = first_mark(head)
  if not mark then return nil, "no channel of marks: was it recorded with marks 1 and all channels?" end
  local position = reaper.GetMediaItemInfo_Value(item, "D_POSITION")
  local moment = position + mark.frame / format.rate
  local line, bar = nearest_line(moment, mark.bar)
  local moved = position + (line - moment)
  return {
    position = moved,
    shift = line - moment,
    bar = bar,
    chanmode = channel > 2 and CHANMODE_FIRST_TWO or CHANMODE_FIRST,
    off = last_error(tail, moved, format.rate),
  }
end

-- Moves an item; what would lie before the project's start is cut off.
local function move(item, take, position)
  local cut = math.max(0, -position)
  if cut > 0 then
    reaper.SetMediaItemTakeInfo_Value(take, "D_STARTOFFS", reaper.GetMediaItemTakeInfo_Value(take, "D_STARTOFFS") + cut)
    reaper.SetMediaItemInfo_Value(item, "D_LENGTH", reaper.GetMediaItemInfo_Value(item, "D_LENGTH") - cut)
  end
  reaper.SetMediaItemInfo_Value(item, "D_POSITION", position + cut)
end

-- Aligns one item; returns what happened in words, and whether that should be read.
local function align(item)
  local take = reaper.GetActiveTake(item)
  if not take or reaper.TakeIsMIDI(take) then return "no audio", true end
  local before = reaper.GetMediaItemTakeInfo_Value(take, "I_CHANMODE")
  reaper.SetMediaItemTakeInfo_Value(take, "I_CHANMODE", CHANMODE_NORMAL) -- or the marks could not be read a second time
  local plan, why = plan_for(item, take)
  if not plan then
    reaper.SetMediaItemTakeInfo_Value(take, "I_CHANMODE", before)
    return why, true
  end
  move(item, take, plan.position)
  reaper.SetMediaItemTakeInfo_Value(take, "I_CHANMODE", plan.chanmode)
  local said = string.format("bar %d, moved by %.3f ms", plan.bar, plan.shift * 1000)
  if math.abs(plan.off) * 1000 <= MAX_OFF_MS then return said, false end
  return said .. string.format(
    "; its last bar is %.1f ms off the project's: another tempo, or sound was lost on the way", plan.off * 1000), true
end

local function main()
  local count = reaper.CountSelectedMediaItems(0)
  if count == 0 then
    reaper.ShowMessageBox("Select the items that were recorded from ReaStream.", "Align recorded stream", 0)
    return
  end
  reaper.Undo_BeginBlock()
  reaper.PreventUIRefresh(1)
  local said, told = {}, {}
  for index = 0, count - 1 do
    local words, matters = align(reaper.GetSelectedMediaItem(0, index))
    said[#said + 1] = words
    if matters then told[#told + 1] = string.format("Item %d: %s", index + 1, words) end
  end
  reaper.PreventUIRefresh(-1)
  reaper.UpdateArrange()
  reaper.Undo_EndBlock("Align recorded stream: " .. said[1] .. (count > 1 and " …" or ""), -1)
  if #told > 0 then reaper.ShowMessageBox(table.concat(told, "\n"), "Align recorded stream", 0) end
end

main()
