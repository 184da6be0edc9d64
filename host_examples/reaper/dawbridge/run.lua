--- How each action script runs: a defer loop with a window, and an end in order.

local App = require("dawbridge.app")
local GfxView = require("dawbridge.gfx_view")
local ImGuiView = require("dawbridge.imgui_view")
local Panel = require("dawbridge.panel")

local run = {}

local TITLE = "daw-bridge"
local OK = 0

local function open_view(panel)
  local library = ImGuiView.library()
  return library and ImGuiView.open(panel, library) or GfxView.open(panel)
end

local function show(text)
  reaper.ShowMessageBox(text, TITLE, OK)
end

-- Lights the action's toolbar button while it runs.
local function light(on)
  local _, _, section, command = reaper.get_action_context()
  if command and command > 0 then
    reaper.SetToggleCommandState(section, command, on and 1 or 0)
    reaper.RefreshToolbar2(section, command)
  end
end

local function at_end(app)
  light(true)
  reaper.atexit(function()
    app:close()
    light(false)
  end)
end

--- The window: open until it is closed; what is being made then is still finished and placed.
function run.window()
  local app = App.new()
  local view = open_view(Panel.new(app, false))
  at_end(app)
  local function loop()
    app:tick()
    if view and not view:draw() then
      view:close()
      view = nil
    end
    if view or app:busy() then
      reaper.defer(loop)
    end
  end
  loop()
end

-- Asks for words where there are none yet; false when the musician thought better of it.
local function has_words(app)
  if app.settings.prompt ~= "" then
    return true
  end
  local given, words = reaper.GetUserInputs(TITLE, 1, "What should it sound like?,extrawidth=260", "")
  app.settings.prompt = words
  return given
end

--- One action from actions.lua: a small window with progress and cancel while it runs, a message box where it cannot be done.
-- @param needs_words ask for a prompt when none is set
function run.action(name, needs_words)
  local app = App.new()
  if needs_words and not has_words(app) then
    return
  elseif not app:start(name) then
    show(app.message)
    return
  end
  local view = open_view(Panel.new(app, true))
  at_end(app)
  local function loop()
    app:tick()
    if view and app:busy() and not view:draw() then -- closing the small window cancels
      view:close()
      view = nil
      app:cancel()
    end
    if app:busy() then
      reaper.defer(loop)
      return
    end
    if view then
      view:close()
    end
    if app.problem then
      show(app.problem)
    end
  end
  loop()
end

--- Something that is asked and answered, without a window.
-- @param begin function(app, finish); finish(text) ends the script and shows the text, if there is one
function run.question(begin)
  local app = App.new()
  local over = false
  reaper.atexit(function() app:close() end)
  begin(app, function(text)
    over = true
    if text then
      show(text)
    end
  end)
  local function loop()
    app:tick()
    if not over then
      reaper.defer(loop)
    end
  end
  loop()
end

return run
