--- The actions: what is read from the project for each, and what becomes of the result. Each returns orders, a plan and a title for the
-- undo step, or nil and why it cannot be done.

local melody = require("dawbridge.melody")
local order = require("dawbridge.order")
local place = require("dawbridge.place")
local project = require("dawbridge.project")
local region = require("dawbridge.region")
local schema = require("dawbridge.schema")
local settings = require("dawbridge.settings")

local actions = {}

local PLAY, CONTINUE = "/bridge/play", "/bridge/continue"
local LONGEST = settings.spec("duration").maximum
local SPARE_SECONDS = 0.05 -- asked for beyond the item's end: takes end with a whole frame of the codec, items where they should
local SEEDS = 2 ^ 31 - 1

-- Tempo, metre and markers of the project from `start` on, for music of `length` seconds in a file that plays at `rate`.
local function in_time(one, context, start, length, rate)
  local values, chosen, proj = one.values, context.settings, context.project
  local metre = project.metre(proj, start)
  local tempo = schema.addresses[one.address].parameters.bpm
  if chosen.follow_tempo and metre.bpm / rate >= 20 and metre.bpm / rate <= tempo.maximum then
    values.bpm = metre.bpm / rate
    values.metre = metre.text
  end
  if chosen.send_markers then
    local marks = project.marks(proj, start, start + length)
    for _, mark in ipairs(marks) do
      mark.seconds = mark.seconds * rate
    end
    local sections
    values.prompt, sections = project.sections(marks, values.prompt)
    values.sections = sections
  end
  values.duration = math.min(length * rate + SPARE_SECONDS, LONGEST)
  return one
end

local function tempo_note(context, start, length)
  if context.settings.follow_tempo and project.tempo_changes(context.project, start, start + length) then
    context.notice = "The tempo changes on the way: the music keeps the tempo of its beginning."
  end
end

local function selected_item(context)
  if reaper.CountSelectedMediaItems(context.project) == 0 then
    return nil
  end
  return reaper.GetSelectedMediaItem(context.project, 0)
end

local function selected_track(context)
  if reaper.CountSelectedTracks(context.project) == 0 then
    return nil
  end
  return reaper.GetSelectedTrack(context.project, 0)
end

-- Where new music goes: the time selection, else `duration` seconds from the edit cursor.
local function stretch(context)
  local start, ends = project.selection(context.project)
  if start then
    return start, ends - start
  end
  return reaper.GetCursorPositionEx(context.project), context.settings.duration
end

local function refused_length(length)
  local shortest = settings.spec("duration").minimum
  if length < shortest or length > LONGEST then
    return ("The length is %.2f s: it must be %g to %g s."):format(length, shortest, LONGEST)
  end
end

local function generate_orders(context)
  local start, length = stretch(context)
  local problem = refused_length(length)
  if problem then
    return nil, problem
  end
  tempo_note(context, start, length)
  local one = in_time(order.new(PLAY, context.settings), context, start, length, 1)
  local plan = place.plan({ project = context.project, track = selected_track(context), position = start, length = length })
  return { one }, plan
end

--- Music for the time selection, on the selected track, or on a new one where that has no room.
function actions.generate(context)
  local orders, plan = generate_orders(context)
  return orders, plan, "daw-bridge: generate"
end

--- Goes on from the selected item, right where it ends. A time selection that ends later says up to where.
function actions.continue(context)
  local item = selected_item(context)
  if not item then
    return nil, "Select an audio item first."
  end
  local part, problem = region.of(item, context.settings.context)
  if not part then
    return nil, problem
  end
  local start = reaper.GetMediaItemInfo_Value(item, "D_POSITION") + reaper.GetMediaItemInfo_Value(item, "D_LENGTH")
  local length = context.settings.duration
  local _, selected_end = project.selection(context.project)
  if selected_end and selected_end > start + settings.spec("duration").minimum then
    length = selected_end - start
  end
  problem = refused_length(length)
  if problem then
    return nil, problem
  end
  tempo_note(context, start, length)
  local one = in_time(order.new(CONTINUE, context.settings), context, start, length, part.rate)
  one.values.path, one.values.start, one.values.length = part.path, part.start, part.length
  local plan = place.plan({
    project = context.project,
    track = reaper.GetMediaItem_Track(item),
    position = start,
    length = length,
    like = place.like(reaper.GetActiveTake(item)),
  })
  return { one }, plan, "daw-bridge: continue"
end

--- Music that follows the selected MIDI item note by note, as long as the item, on a new track or the selected one.
function actions.follow(context)
  local item = selected_item(context)
  if not item then
    return nil, "Select a MIDI item first."
  end
  local start = reaper.GetMediaItemInfo_Value(item, "D_POSITION")
  local length = reaper.GetMediaItemInfo_Value(item, "D_LENGTH")
  local notes, problem = melody.of(item, project.metre(context.project, start).quarters)
  problem = problem or refused_length(length)
  if not notes or problem then
    return nil, problem
  end
  tempo_note(context, start, length)
  local own = setmetatable({ settings = setmetatable({ follow_tempo = true }, { __index = context.settings }) }, { __index = context })
  local one = in_time(order.new(PLAY, context.settings), own, start, length, 1) -- beats without their tempo would be no melody
  one.notes = notes
  local plan = place.plan({ project = context.project, track = reaper.GetMediaItem_Track(item), position = start, length = length })
  return { one }, plan, "daw-bridge: follow the MIDI item"
end

-- Seeds of our own, so that a take's name tells its seed before it is made; different in every call.
local function new_seeds(count)
  local seeds, state = {}, math.floor(reaper.time_precise() * 1e6) % SEEDS
  for index = 1, count do
    state = (state * 48271 + 11) % SEEDS
    seeds[index] = math.floor(state)
  end
  return seeds
end

local function with_new_seeds(one, count)
  local orders = {}
  for index, seed in ipairs(new_seeds(count)) do
    orders[index] = order.with_seed(one, seed)
  end
  return orders
end

-- The order behind the selected item, and a plan to add takes to it.
local function takes_of_selected(context)
  local item = selected_item(context)
  local one = item and place.order_of(item)
  if one then
    one.values.sound = context.settings.sound
    return one, place.plan({ project = context.project, item = item, like = place.like(reaper.GetActiveTake(item)) })
  end
end

--- Several versions with seeds of their own: more takes of the selected item where it was made here, else takes of one new item.
function actions.variations(context)
  local one, plan = takes_of_selected(context)
  if not one then
    local orders, problem = generate_orders(context)
    if not orders then
      return nil, problem
    end
    one, plan = orders[1], problem
  end
  return with_new_seeds(one, context.settings.variations), plan, "daw-bridge: variations"
end

--- The selected item once more with another seed, as a new take of it.
function actions.again(context)
  local one, plan = takes_of_selected(context)
  if not one then
    return nil, "Select an item that was made here first."
  end
  return with_new_seeds(one, 1), plan, "daw-bridge: again"
end

return actions
