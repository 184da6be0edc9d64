--- Draws the panel with ReaImGui, where that extension is installed (0.9 or later).

local Panel = require("dawbridge.panel")
local settings = require("dawbridge.settings")

local View = {}
View.__index = View

local TITLE = "daw-bridge"
local WIDTH, HEIGHT, COMPACT_HEIGHT = 480, 420, 110
local PROBLEM = 0xF28C6BFF
local PROMPT_HEIGHT = 54

--- ReaImGui's functions, or nil where it is not installed.
function View.library()
  if not reaper.APIExists("ImGui_GetBuiltinPath") then
    return nil
  end
  package.path = reaper.ImGui_GetBuiltinPath() .. "/?.lua;" .. package.path
  local found, shim = pcall(require, "imgui")
  if not found then
    return nil
  end
  local fits, library = pcall(shim, "0.9")
  return fits and library or nil
end

function View.open(panel, library)
  local self = setmetatable({ panel = panel, gui = library }, View)
  self.context = library.CreateContext(TITLE)
  return self
end

function View:_hint(name)
  if self.gui.IsItemHovered(self.context) then
    self.gui.SetTooltip(self.context, Panel.meaning(name))
  end
end

function View:_text(name)
  local gui, context, panel = self.gui, self.context, self.panel
  local text = tostring(panel:value(name))
  local changed
  if name == "prompt" then
    changed, text = gui.InputTextMultiline(context, Panel.label(name), text, 0, PROMPT_HEIGHT)
  else
    changed, text = gui.InputText(context, Panel.label(name), text)
  end
  if changed then
    panel:set(name, text)
  end
  self:_hint(name)
end

function View:_slider(name)
  local gui, context, panel = self.gui, self.context, self.panel
  local spec, value = settings.spec(name), panel:value(name)
  local flags = spec.maximum - spec.minimum > 100 and gui.SliderFlags_Logarithmic or 0
  local changed
  if spec.kind == "int" then
    changed, value = gui.SliderInt(context, Panel.label(name), value, math.floor(spec.minimum), math.floor(spec.maximum), "%d", flags)
  else
    changed, value = gui.SliderDouble(context, Panel.label(name), value, spec.minimum, spec.maximum, "%.2f " .. (spec.unit or ""), flags)
  end
  if changed then
    panel:set(name, value)
  end
  self:_hint(name)
end

function View:_settings()
  local gui, context, panel = self.gui, self.context, self.panel
  for _, name in ipairs(panel.texts) do
    self:_text(name)
  end
  for _, name in ipairs(panel.sliders) do
    self:_slider(name)
  end
  for index, name in ipairs(panel.switches) do
    if index > 1 then
      gui.SameLine(context)
    end
    local changed, value = gui.Checkbox(context, Panel.label(name), panel:value(name))
    if changed then
      panel:set(name, value)
    end
    self:_hint(name)
  end
  gui.Separator(context)
end

function View:_buttons()
  local gui, context, panel = self.gui, self.context, self.panel
  gui.BeginDisabled(context, panel:progress() ~= nil)
  local pressed
  for index, button in ipairs(Panel.BUTTONS) do
    if index > 1 then
      gui.SameLine(context)
    end
    pressed = gui.Button(context, button.label) and button.action or pressed
  end
  gui.EndDisabled(context)
  if pressed then
    panel:press(pressed)
  end
end

function View:_state()
  local gui, context, panel = self.gui, self.context, self.panel
  local progress = panel:progress()
  if progress then
    gui.ProgressBar(context, progress, -90, 0)
    gui.SameLine(context)
    if gui.Button(context, "Cancel") then
      panel:press("cancel")
    end
  elseif panel:kept() > 0 and gui.Button(context, "Place kept results") then
    panel:press("kept")
  end
  local text, problem = panel:message()
  if problem then
    gui.TextColored(context, PROBLEM, text)
  else
    gui.TextWrapped(context, text)
  end
end

--- Draws once. Returns false when the window was closed.
function View:draw()
  local gui, context, compact = self.gui, self.context, self.panel.compact
  gui.SetNextWindowSize(context, WIDTH, compact and COMPACT_HEIGHT or HEIGHT, gui.Cond_FirstUseEver)
  local visible, open = gui.Begin(context, TITLE, true)
  if visible then
    if not compact then
      self:_settings()
      self:_buttons()
    end
    self:_state()
    gui.End(context)
  end
  return open
end

function View:close() end

return View
