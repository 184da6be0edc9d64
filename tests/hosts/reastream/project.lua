-- Runs an action on a project of one item, strictly: an unknown function, name of a value or number of arguments is an error.
--   lua5.4 project.lua ACTION RECORDING RATE CHANNELS POSITION BPM BEATS_PER_BAR
-- RECORDING holds float32 frames, interleaved. Prints what the project is afterwards, one `name value` a line.

local action, recording = arg[1], arg[2]
local rate, channels, position = tonumber(arg[3]), math.tointeger(tonumber(arg[4])), tonumber(arg[5])
local bpm, beats_per_bar = tonumber(arg[6]), tonumber(arg[7])

local file = assert(io.open(recording, "rb"))
local content = file:read("a")
file:close()
local frames = #content // (4 * channels)

local project = {
  item = { D_POSITION = position, D_LENGTH = frames / rate },
  take = { I_CHANMODE = 0, D_STARTOFFS = 0, D_PLAYRATE = 1 },
}
local open_undo, undone, accessors, said = 0, {}, 0, {}
local ITEM, TAKE, SOURCE, ACCESSOR = {}, {}, {}, {}

local function must(condition, what)
  if not condition then error(what, 3) end
end

local function values(of, name)
  must(of[name] ~= nil, "no value " .. tostring(name))
  return of
end

local api = {}

function api.CountSelectedMediaItems(project_number) must(project_number == 0, "project") return 1 end
function api.GetSelectedMediaItem(project_number, index) must(project_number == 0 and index == 0, "item") return ITEM end
function api.GetActiveTake(item) must(item == ITEM, "item") return TAKE end
function api.TakeIsMIDI(take) must(take == TAKE, "take") return false end
function api.GetMediaItemTake_Source(take) must(take == TAKE, "take") return SOURCE end
function api.GetMediaSourceSampleRate(source) must(source == SOURCE, "source") return rate end
function api.GetMediaSourceNumChannels(source) must(source == SOURCE, "source") return channels end

function api.GetMediaItemInfo_Value(item, name) must(item == ITEM, "item") return values(project.item, name)[name] end

function api.SetMediaItemInfo_Value(item, name, value)
  must(item == ITEM and open_undo == 1, "item, in an undo block")
  must(name ~= "D_POSITION" or value >= 0, "a position before the project's start")
  values(project.item, name)[name] = value
  return true
end

function api.GetMediaItemTakeInfo_Value(take, name) must(take == TAKE, "take") return values(project.take, name)[name] end

function api.SetMediaItemTakeInfo_Value(take, name, value)
  must(take == TAKE and open_undo == 1, "take, in an undo block")
  values(project.take, name)[name] = value
  return true
end

function api.CreateTakeAudioAccessor(take) must(take == TAKE, "take") accessors = accessors + 1 return ACCESSOR end
function api.DestroyAudioAccessor(accessor) must(accessor == ACCESSOR, "accessor") accessors = accessors - 1 end
function api.GetAudioAccessorStartTime(accessor) must(accessor == ACCESSOR, "accessor") return 0.0 end

function api.new_array(size)
  local array = { size = size }
  function array.clear()
    for index = 1, size do array[index] = 0.0 end
  end
  return array
end

function api.GetAudioAccessorSamples(accessor, samplerate, count, start, length, buffer)
  must(accessor == ACCESSOR and accessors == 1, "an accessor that lives")
  must(samplerate == rate and count == channels, "the source's own rate and channels")
  must(project.take.I_CHANMODE == 0, "all channels are heard only in the normal channel mode")
  must(length * count <= buffer.size, "a buffer that is large enough")
  local first = math.floor((start + project.take.D_STARTOFFS) * rate + 0.5)
  for index = 0, length * count - 1 do
    local at = (first * count + index) * 4
    buffer[index + 1] = at >= 0 and at + 4 <= #content and string.unpack("<f", content, at + 1) or 0.0
  end
  return 1
end

function api.TimeMap2_timeToBeats(project_number, seconds)
  must(project_number == 0, "project")
  local beats = seconds * bpm / 60
  local measure = math.floor(beats / beats_per_bar)
  return beats - measure * beats_per_bar, measure, beats_per_bar, beats, 4
end

function api.TimeMap2_beatsToTime(project_number, beats, measure)
  must(project_number == 0 and measure, "project and measure")
  return (measure * beats_per_bar + beats) * 60 / bpm
end

function api.Undo_BeginBlock() open_undo = open_undo + 1 end

function api.Undo_EndBlock(words, flags)
  must(open_undo == 1 and flags == -1, "an open undo block")
  open_undo = 0
  undone[#undone + 1] = words
end

function api.PreventUIRefresh(change) must(change == 1 or change == -1, "1 or -1") end
function api.UpdateArrange() end
function api.ShowMessageBox(words, title, kind) must(title and kind == 0, "a plain box") said[#said + 1] = words return 1 end

reaper = setmetatable({}, {
  __index = function(_, name)
    local call = api[name]
    if not call then error("reaper." .. tostring(name) .. " is not known", 2) end
    return call
  end,
  __newindex = function() error("reaper is not ours to change", 2) end,
})

dofile(action)

assert(open_undo == 0 and accessors == 0 and #undone == 1, "one undo step, and nothing left open")
local function tell(name, value)
  print(string.format(math.type(value) == "float" and "%s %.12f" or "%s %s", name, value))
end
tell("position", project.item.D_POSITION + 0.0)
tell("length", project.item.D_LENGTH + 0.0)
tell("offset", project.take.D_STARTOFFS + 0.0)
tell("chanmode", project.take.I_CHANMODE)
tell("undo", undone[1])
if said[1] then tell("said", (said[1]:gsub("\n", " "))) end
