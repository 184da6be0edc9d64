--- A strict double of ReaImGui's module, as require("imgui")("0.9") gives it: the functions that the view uses, with their argument
-- types; `imgui_stage` (global) holds what is shown and what the musician does.

local SIGNATURES = {
  CreateContext = "string integer? > context",
  SetNextWindowSize = "context number number integer? >",
  Begin = "context string boolean? integer? > boolean",
  End = "context >",
  InputText = "context string string integer? >",
  InputTextMultiline = "context string string number? number? integer? >",
  SliderDouble = "context string number number number string? integer? >",
  SliderInt = "context string integer integer integer string? integer? >",
  Checkbox = "context string boolean >",
  Button = "context string number? number? >",
  ProgressBar = "context number number? number? string? >",
  TextWrapped = "context string >",
  TextColored = "context integer string >",
  SameLine = "context number? number? >",
  Separator = "context >",
  BeginDisabled = "context boolean? >",
  EndDisabled = "context >",
  IsItemHovered = "context integer? >",
  SetTooltip = "context string >",
}
local CONSTANTS = { Cond_FirstUseEver = 4, SliderFlags_Logarithmic = 32 }

local stage = { shown = {}, typed = {}, press = {}, open = true, disabled = false, windows = 0 }
_G.imgui_stage = stage

local function fits(kind, value)
  if kind == "context" then
    return value == stage.context
  elseif kind == "integer" then
    return math.tointeger(value) ~= nil
  end
  return type(value) == kind
end

local acts = {}

function acts.CreateContext()
  stage.context = {}
  return stage.context
end

function acts.Begin()
  stage.shown, stage.windows = {}, stage.windows + 1
  return true, stage.open
end

function acts.End()
  stage.windows = stage.windows - 1
end

local function field(_, label, value)
  stage.shown[label] = value
  local typed = stage.typed[label]
  stage.typed[label] = nil
  return typed ~= nil, typed == nil and value or typed
end
acts.InputText, acts.InputTextMultiline, acts.SliderDouble, acts.SliderInt, acts.Checkbox = field, field, field, field, field

function acts.Button(_, label)
  stage.shown[label] = not stage.disabled
  local pressed = stage.press[label] and not stage.disabled
  stage.press[label] = nil
  return pressed or false
end

function acts.ProgressBar(_, fraction)
  assert(fraction >= 0 and fraction <= 1, "a progress outside 0 to 1")
  stage.shown.progress = fraction
end

function acts.TextWrapped(_, text)
  stage.shown.text = text
end

function acts.TextColored(_, _, text)
  stage.shown.problem = text
end

function acts.BeginDisabled(_, on)
  stage.disabled = on
end

function acts.EndDisabled()
  stage.disabled = false
end

function acts.IsItemHovered()
  return false
end

for _, name in ipairs({ "SetNextWindowSize", "SameLine", "Separator", "SetTooltip" }) do
  acts[name] = function() end
end

local function guarded(name, signature)
  local kinds = {}
  for word in signature:match("^(.-)>"):gmatch("%S+") do
    kinds[#kinds + 1] = word
  end
  return function(...)
    assert(select("#", ...) <= #kinds, name .. ": too many arguments")
    for index, kind in ipairs(kinds) do
      local value = (select(index, ...))
      local optional = kind:sub(-1) == "?"
      assert(optional and value == nil or fits(optional and kind:sub(1, -2) or kind, value),
        ("ImGui.%s: argument %d is %s, a %s is wanted"):format(name, index, tostring(value), kind))
    end
    return acts[name](...)
  end
end

return function(version)
  assert(version == "0.9", "asked for another version")
  local library = {}
  for name, value in pairs(CONSTANTS) do
    library[name] = value
  end
  for name, signature in pairs(SIGNATURES) do
    library[name] = guarded(name, signature)
  end
  return setmetatable(library, { __index = function(_, key) error("ImGui." .. key .. " does not exist", 2) end })
end
