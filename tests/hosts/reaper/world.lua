--- A model of what Reaper's functions change: projects with tracks, items, takes and sources, tempo, markers, ExtState, undo, defer, gfx.

local wave = require("wave")

local ITEM_VALUES = { D_POSITION = 0, D_LENGTH = 0, D_VOL = 1, B_LOOPSRC = 1, D_FADEINLEN = 0.01, D_FADEOUTLEN = 0.01,
  I_CUSTOMCOLOR = 0, B_UISEL = 0 }
local TAKE_VALUES = { D_STARTOFFS = 0, D_PLAYRATE = 1, D_VOL = 1, D_PAN = 0, D_PITCH = 0, B_PPITCH = 1, I_CHANMODE = 0,
  I_CUSTOMCOLOR = 0 }
local ITEM_TEXTS = { GUID = true, P_NOTES = true }
local TAKE_TEXTS = { GUID = true, P_NAME = true }
local TRACK_TEXTS = { GUID = true, P_NAME = true }
local CONTEXTS = { "ReaProject*", "MediaTrack*", "MediaItem*", "MediaItem_Take*", "PCM_source*" }

local guids = 0
local function guid()
  guids = guids + 1
  return ("{00000000-0000-0000-0000-%012X}"):format(guids)
end

local function pointer(kind, fields)
  fields.kind = kind
  return setmetatable(fields, { __index = function(_, key) error(kind .. " has no " .. tostring(key), 2) end })
end

local function copy(values)
  local copied = {}
  for name, value in pairs(values) do
    copied[name] = value
  end
  return copied
end

local World = {}
World.__index = World

function World.new(options)
  options = options or {}
  return setmetatable({
    calls = {}, deferred = {}, at_exit = {}, ext = options.ext or {}, boxes = {}, answers = options.answers or {},
    projects = {}, current = 1, loose_edits = {}, ui_refresh = 0, toggles = {}, skipped = 0, commands = {},
    os = options.os or "Other", resource_path = options.resource_path or "/nowhere", action = options.action or "",
    clock = options.clock, destroyed = {},
  }, World)
end

-- Building ------------------------------------------------------------------------------------------------------------------

function World:add_project(fields)
  local project = pointer("ReaProject", {
    open = true, tracks = {}, markers = {}, selection = { 0, 0 }, cursor = 0, ext = {}, undo = {}, depth = 0,
    tempo = { { time = 0, bpm = 120, numerator = 4, denominator = 4 } },
  })
  for name, value in pairs(fields or {}) do
    project[name] = value
  end
  table.insert(self.projects, project)
  return project
end

function World:add_track(project, index)
  local track = pointer("MediaTrack", { project = project, items = {}, texts = { P_NAME = "" }, ext = {}, guid = guid(),
    selected = false, gone = false })
  table.insert(project.tracks, index or #project.tracks + 1, track)
  return track
end

function World:add_item(track, values)
  local item = pointer("MediaItem", { track = track, takes = {}, active = 1, values = copy(ITEM_VALUES), selected = false,
    texts = { P_NOTES = "" }, ext = {}, guid = guid(), gone = false })
  for name, value in pairs(values or {}) do
    item.values[name] = value
  end
  table.insert(track.items, item)
  return item
end

function World:add_take(item, source, values)
  local take = pointer("MediaItem_Take", { item = item, source = source or false, values = copy(TAKE_VALUES), ext = {},
    texts = { P_NAME = "" }, guid = guid(), gone = false, notes = false, stretch_markers = 0 })
  for name, value in pairs(values or {}) do
    take.values[name] = value
  end
  table.insert(item.takes, take)
  return take
end

--- A source of a file, a section of another (`parent`, `section` = { offset, length, reversed }), or MIDI (`quarters`).
function World:add_source(fields)
  return pointer("PCM_source", {
    path = fields.path or "", length = fields.length or 0, quarters = fields.quarters or false, parent = fields.parent or false,
    section = fields.section or false, rate = fields.rate or 48000, channels = fields.channels or 1, gone = false,
  })
end

-- Acts of the musician, for sessions ------------------------------------------------------------------------------------------

function World:delete_track(track)
  for index, each in ipairs(track.project.tracks) do
    if each == track then
      table.remove(track.project.tracks, index)
    end
  end
  track.gone = true
end

function World:delete_item(item)
  for index, each in ipairs(item.track.items) do
    if each == item then
      table.remove(item.track.items, index)
    end
  end
  item.gone = true
end

function World:close_project(project)
  project.open = false
  for index, each in ipairs(self.projects) do
    if each == project then
      table.remove(self.projects, index)
    end
  end
  self.current = 1
end

-- Inside ----------------------------------------------------------------------------------------------------------------------

function World:project(given)
  if given == nil or given == 0 then
    return assert(self.projects[self.current], "no project is open")
  end
  return given
end

function World.alive(value)
  if value.kind == "ReaProject" then
    return value.open
  elseif value.kind == "MediaTrack" then
    return not value.gone and value.project.open
  elseif value.kind == "MediaItem" then
    return not value.gone and World.alive(value.track)
  elseif value.kind == "MediaItem_Take" then
    return not value.gone and World.alive(value.item)
  end
  return not value.gone
end

function World:edit(project, what)
  if project.depth == 0 then
    table.insert(self.loose_edits, what)
  end
end

function World:items(project)
  local found = {}
  for _, track in ipairs(project.tracks) do
    table.move(track.items, 1, #track.items, #found + 1, found)
  end
  return found
end

-- The tempo marker that counts at a time or quarter, and the quarters that have passed where it begins.
local function stretch(project, reached)
  local quarters, last = 0, project.tempo[1]
  for index = 2, #project.tempo do
    local marker = project.tempo[index]
    local ends = quarters + (marker.time - last.time) * last.bpm / 60
    if not reached(marker.time, ends) then
      break
    end
    quarters, last = ends, marker
  end
  return last, quarters
end

function World:to_quarters(project, time)
  local marker, quarters = stretch(project, function(begins) return begins <= time end)
  return quarters + (time - marker.time) * marker.bpm / 60
end

function World:to_time(project, quarter)
  local marker, quarters = stretch(project, function(_, begins) return begins <= quarter end)
  return marker.time + (quarter - quarters) * 60 / marker.bpm
end

function World:metre(project, time)
  local marker = stretch(project, function(begins) return begins <= time + 1e-9 end)
  return marker.numerator, marker.denominator, marker.bpm
end

local function value_of(name, kinds, holder)
  assert(kinds[name] ~= nil, "no such value: " .. name)
  return holder.values[name]
end

function World:set_value(name, kinds, holder, value, project)
  assert(kinds[name] ~= nil, "no such value: " .. name)
  self:edit(project, name)
  holder.values[name] = value
  return true
end

function World:text(holder, name, value, set, kinds, project)
  if name == "GUID" then
    assert(not set, "the stub's GUIDs stay as they are")
    return true, holder.guid
  end
  local extension = name:match("^P_EXT:(.+)$")
  assert(extension or kinds[name], "no such text: " .. name)
  local texts, key = extension and holder.ext or holder.texts, extension or name
  if set then
    self:edit(project, name)
    texts[key] = value
  end
  return texts[key] ~= nil, texts[key] or ""
end

World.ITEM_VALUES, World.TAKE_VALUES = ITEM_VALUES, TAKE_VALUES
World.ITEM_TEXTS, World.TAKE_TEXTS, World.TRACK_TEXTS = ITEM_TEXTS, TAKE_TEXTS, TRACK_TEXTS
World.CONTEXTS = CONTEXTS
World.value_of = value_of
World.file_length = wave.length

return World
