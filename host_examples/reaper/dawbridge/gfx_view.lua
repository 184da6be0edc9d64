--- Draws the panel with Reaper's own graphics.

local TextField = require("dawbridge.text_field")
local Panel = require("dawbridge.panel")

local View = {}
View.__index = View

local TITLE = "daw-bridge"
local WIDTH, MARGIN, ROW = 480, 14, 26
local LABEL_WIDTH, VALUE_WIDTH = 96, 66
local LINE = 17
local PROMPT_LINES = 3
local CLOSED, ESCAPE, ENTER = -1, 27, 13
local COLOURS = {
  ground = { 0.16, 0.17, 0.19 },
  field = { 0.10, 0.11, 0.12 },
  edge = { 0.32, 0.34, 0.38 },
  accent = { 0.29, 0.56, 0.75 },
  text = { 0.90, 0.91, 0.92 },
  faint = { 0.58, 0.61, 0.65 },
  problem = { 0.95, 0.55, 0.42 },
}

--- Opens the window.
function View.open(panel)
  local self = setmetatable({ panel = panel, fields = {}, was_down = false }, View)
  for _, name in ipairs(panel.texts) do
    self.fields[name] = TextField.new()
  end
  self.height = panel.compact and 96 or 40 + PROMPT_LINES * LINE + (#panel.texts + #panel.sliders + 1) * ROW + 130
  gfx.init(TITLE, WIDTH, self.height)
  gfx.setfont(1, "Arial", 15)
  return self
end

local function colour(name)
  local rgb = COLOURS[name]
  gfx.set(rgb[1], rgb[2], rgb[3], 1)
end

local function box(x, y, width, height, fill, edge)
  colour(fill)
  gfx.rect(x, y, width, height, 1)
  if edge then
    colour(edge)
    gfx.rect(x, y, width, height, 0)
  end
end

local function write(text, x, y, name, right)
  colour(name)
  gfx.x, gfx.y = x, y
  gfx.drawstr(text, 0, right or gfx.w - MARGIN, y + LINE + 2)
end

function View:_inside(x, y, width, height)
  return gfx.mouse_x >= x and gfx.mouse_x < x + width and gfx.mouse_y >= y and gfx.mouse_y < y + height
end

function View:_hint(name, x, y, width, height)
  if self:_inside(x, y, width, height) then
    self.hint = Panel.meaning(name)
  end
end

-- Lines of a text that are as wide as the window, broken between words.
local function wrapped(text, width)
  local lines, line = {}, ""
  for word in text:gmatch("%S+%s*") do
    if line ~= "" and gfx.measurestr(line .. word) > width then
      lines[#lines + 1], line = line, ""
    end
    line = line .. word
  end
  lines[#lines + 1] = line
  return lines
end

function View:_text(name, y, lines)
  local panel, height = self.panel, lines * LINE + 8
  local x, width = MARGIN + LABEL_WIDTH, gfx.w - 2 * MARGIN - LABEL_WIDTH
  write(Panel.label(name), MARGIN, y + 4, "faint")
  box(x, y, width, height, "field", self.focus == name and "accent" or "edge")
  if self.clicked and self:_inside(x, y, width, height) then
    self.focus = name
    self.fields[name]:take(tostring(panel:value(name)))
  end
  local shown = self.focus == name and self.fields[name]:shown() or tostring(panel:value(name))
  local rows = wrapped(shown, width - 12)
  for index = math.max(1, #rows - lines + 1), #rows do
    write(rows[index], x + 6, y + 4 + (index - math.max(1, #rows - lines + 1)) * LINE, "text", x + width - 4)
  end
  self:_hint(name, MARGIN, y, gfx.w - 2 * MARGIN, height)
  return y + height + 6
end

function View:_slider(name, y)
  local panel = self.panel
  local x = MARGIN + LABEL_WIDTH
  local width = gfx.w - 2 * MARGIN - LABEL_WIDTH - VALUE_WIDTH
  write(Panel.label(name), MARGIN, y + 3, "faint")
  box(x, y + 8, width, 6, "field", "edge")
  box(x, y + 8, math.floor(width * panel:position(name)), 6, "accent")
  box(x + math.floor(width * panel:position(name)) - 4, y + 4, 8, 14, "text")
  write(panel:shown(name), x + width + 10, y + 3, "text")
  if self.clicked and self:_inside(x - 6, y, width + 12, ROW) then
    self.dragged = name
  end
  if self.dragged == name and self.is_down then
    panel:move(name, (gfx.mouse_x - x) / width)
  end
  self:_hint(name, MARGIN, y, gfx.w - 2 * MARGIN, ROW)
  return y + ROW
end

function View:_switches(y)
  local panel = self.panel
  local width = (gfx.w - 2 * MARGIN) // #panel.switches
  for index, name in ipairs(panel.switches) do
    local x = MARGIN + (index - 1) * width
    box(x, y + 4, 14, 14, panel:value(name) and "accent" or "field", "edge")
    write(Panel.label(name), x + 20, y + 3, "text", x + width)
    if self.clicked and self:_inside(x, y, width - 8, ROW) then
      panel:set(name, not panel:value(name))
    end
    self:_hint(name, x, y, width - 8, ROW)
  end
  return y + ROW + 4
end

function View:_button(label, x, y, width, action, enabled)
  local over = enabled and self:_inside(x, y, width, ROW)
  box(x, y, width, ROW, over and "accent" or "field", "edge")
  colour(enabled and "text" or "faint")
  gfx.x, gfx.y = x, y
  gfx.drawstr(label, 5, x + width, y + ROW)
  if over and self.clicked then
    self:_leave_field()
    self.panel:press(action)
  end
end

function View:_buttons(y)
  local panel = self.panel
  local width = (gfx.w - 2 * MARGIN + 6) // #Panel.BUTTONS
  for index, button in ipairs(Panel.BUTTONS) do
    local x = MARGIN + (index - 1) * width
    self:_button(button.label, x, y, width - 6, button.action, not panel:progress())
    if self:_inside(x, y, width - 6, ROW) then
      self.hint = button.meaning
    end
  end
  return y + ROW + 10
end

function View:_progress(y)
  local panel, width = self.panel, gfx.w - 2 * MARGIN - 90
  local progress = panel:progress()
  box(MARGIN, y + 6, width, 14, "field", "edge")
  if progress then
    box(MARGIN, y + 6, math.floor(width * progress), 14, "accent")
    self:_button("Cancel", MARGIN + width + 10, y, 80, "cancel", true)
  elseif panel:kept() > 0 then
    self:_button("Place kept", MARGIN + width + 10, y, 80, "kept", true)
  end
  return y + ROW + 8
end

function View:_message(y)
  local text, problem = self.panel:message()
  if self.hint and not problem and not self.panel:progress() then
    text = self.hint
  end
  for index, line in ipairs(wrapped(text:gsub("\n", " "), gfx.w - 2 * MARGIN)) do
    if index <= 3 then
      write(line, MARGIN, y + (index - 1) * LINE, problem and "problem" or "faint")
    end
  end
end

function View:_leave_field()
  if self.focus then
    self.panel:set(self.focus, self.fields[self.focus].text)
    self.focus = nil
  end
end

function View:_keys()
  local char = gfx.getchar()
  while char > 0 do
    if char == ESCAPE and not self.focus then
      return CLOSED
    elseif char == ESCAPE then
      self.focus = nil
    elseif char == ENTER and not self.panel.compact then
      self:_leave_field()
      if not self.panel:progress() then
        self.panel:press("generate")
      end
    elseif self.focus then
      self.fields[self.focus]:key(char)
      self.panel:set(self.focus, self.fields[self.focus].text)
    end
    char = gfx.getchar()
  end
  return char
end

--- Draws once and takes mouse and keys. Returns false when the window was closed.
function View:draw()
  self.is_down = gfx.mouse_cap & 1 == 1
  self.clicked = self.is_down and not self.was_down
  self.hint = nil
  if self:_keys() == CLOSED then
    return false
  end
  box(0, 0, gfx.w, gfx.h, "ground")
  local y, panel = MARGIN, self.panel
  if not panel.compact then
    if self.clicked and self.focus then
      self:_leave_field()
    end
    for _, name in ipairs(panel.texts) do
      y = self:_text(name, y, name == "prompt" and PROMPT_LINES or 1)
    end
    for _, name in ipairs(panel.sliders) do
      y = self:_slider(name, y)
    end
    y = self:_buttons(self:_switches(y))
  end
  self:_message(self:_progress(y))
  self.was_down = self.is_down
  if not self.is_down then
    self.dragged = nil
  end
  gfx.update()
  return true
end

function View:close()
  gfx.quit()
end

return View
