--- What the window shows and does, whoever draws it: fields, sliders by the schema's ranges, switches, buttons.

local App = require("dawbridge.app")
local kept = require("dawbridge.kept")
local settings = require("dawbridge.settings")

local Panel = {}
Panel.__index = Panel

local WIDE = 100 -- beyond such a span a slider has a logarithmic course
local BEND = 5 -- up to about here it moves evenly
local LABELS = { top_k = "top k", top_p = "top p", follow_tempo = "Project tempo", send_markers = "Markers", sound = "Hear it now" }
local TEXTS = { prompt = true, key = true, seed = true }

Panel.BUTTONS = {
  { label = "Generate", action = "generate", meaning = "Music for the time selection, else from the edit cursor." },
  { label = "Continue", action = "continue", meaning = "Go on from the selected item." },
  { label = "Melody", action = "follow", meaning = "Follow the selected MIDI item." },
  { label = "Variations", action = "variations", meaning = "Several versions as takes of one item." },
  { label = "Again", action = "again", meaning = "The selected item with a new seed." },
}

--- @param app an App
-- @param compact show progress and cancel only
function Panel.new(app, compact)
  local self = setmetatable({ app = app, compact = compact, texts = {}, sliders = {}, switches = {} }, Panel)
  for _, name in ipairs(settings.SHOWN) do
    table.insert(TEXTS[name] and self.texts or self.sliders, name)
  end
  for _, name in ipairs(settings.SWITCHES) do
    table.insert(self.switches, name)
  end
  return self
end

function Panel.label(name)
  return LABELS[name] or name
end

--- A line that explains a field: its meaning, range and unit.
function Panel.meaning(name)
  return settings.spec(name).meaning
end

function Panel:value(name)
  return self.app.settings[name]
end

--- Sets a value from text or number; what makes no sense leaves it as it is.
function Panel:set(name, value)
  local checked = settings.checked(name, value)
  if checked ~= nil then
    self.app.settings[name] = checked
  end
end

--- A value as it is shown, with its unit.
function Panel:shown(name)
  local spec, value = settings.spec(name), self:value(name)
  if type(value) == "boolean" then
    return value and "on" or "off"
  end
  local text = math.type(value) == "float" and ("%.4g"):format(value) or tostring(value)
  return spec.unit and spec.unit ~= "" and text .. " " .. spec.unit or text
end

local function course(spec)
  local span = spec.maximum - spec.minimum
  return span > WIDE and BEND / span or nil, span
end

--- Where a slider stands, 0 to 1.
function Panel:position(name)
  local spec, value = settings.spec(name), self:value(name)
  local bend, span = course(spec)
  local part = (value - spec.minimum) / span
  return bend and math.log(1 + part / bend) / math.log(1 + 1 / bend) or part
end

--- Moves a slider, 0 to 1; the value is rounded as far as it can be read.
function Panel:move(name, position)
  local spec = settings.spec(name)
  local bend, span = course(spec)
  position = math.max(0, math.min(1, position))
  local part = bend and bend * ((1 + 1 / bend) ^ position - 1) or position
  local value = spec.minimum + part * span
  local step = value < 10 and 0.05 or value < 100 and 0.5 or 1
  if position > 0 and position < 1 then
    value = math.floor(value / step + 0.5) * step
  end
  self:set(name, value)
end

--- Presses a button: an action's name, "cancel" or "kept".
function Panel:press(action)
  local app = self.app
  if action == "cancel" then
    app:cancel()
  elseif action == "kept" then
    local count, problem = app:place_kept()
    app.message = problem or ("Placed: %d"):format(count)
  else
    app:start(action)
  end
end

function Panel:kept()
  return #kept.all()
end

function Panel:progress()
  return self.app:progress()
end

--- The line at the bottom, and whether it tells of a problem.
function Panel:message()
  local app = self.app
  if app.problem then
    return app.problem, true
  end
  return app.notice and app:busy() and app.message .. "  " .. app.notice or app.message, false
end

Panel.cancel_all = App.cancel_all

return Panel
