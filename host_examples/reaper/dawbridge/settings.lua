--- The last settings: what a project remembers goes before what Reaper remembers, and both before the schema's defaults.

local schema = require("dawbridge.schema")

local settings = {}

settings.SECTION = "dawbridge"
local SECTION = settings.SECTION
local PLAY = schema.addresses["/bridge/play"].parameters

-- Settings of these scripts, beside the parameters of the protocol.
local OWN = {
  follow_tempo = { name = "follow_tempo", kind = "bool", default = true, meaning = "Send the project's tempo." },
  send_markers = { name = "send_markers", kind = "bool", default = true, meaning = "Markers in the time selection are sections." },
  variations = { name = "variations", kind = "int", default = 3, minimum = 2, maximum = 8, meaning = "How many variations." },
  context = { name = "context", kind = "float", default = 30.0, minimum = 1.0, maximum = 120.0, unit = "s",
    meaning = "How much of an item's end is handed over to be gone on from." },
}

--- What the window shows, in order.
settings.SHOWN = { "prompt", "key", "duration", "temperature", "top_k", "top_p", "guidance", "seed", "variations" }
settings.SWITCHES = { "follow_tempo", "send_markers", "sound" }

--- What goes with every request as it was set.
settings.SENT = { "prompt", "key", "temperature", "top_k", "top_p", "guidance", "seed" }

--- Kind, range, default, unit and meaning of a setting.
function settings.spec(name)
  return OWN[name] or PLAY[name]
end

local function default(name)
  if name == "sound" then -- the result is heard in Reaper; the bridge need not play it, too
    return false
  end
  local spec = settings.spec(name)
  return spec.default == nil and "" or spec.default
end

--- A value in its own type and range, from text or from a value; nil when it makes no sense.
function settings.checked(name, value)
  local spec = settings.spec(name)
  if spec.kind == "bool" then
    return value == true or value == 1 or value == "1" or value == "true"
  elseif spec.kind == "str" then
    return tostring(value)
  end
  local number = tonumber(value)
  if not number or number ~= number then
    return nil
  end
  number = math.max(spec.minimum or number, math.min(spec.maximum or number, number))
  return spec.kind == "int" and math.floor(number + 0.5) or number + 0.0
end

local function stored(project, name)
  local found, text = reaper.GetProjExtState(project, SECTION, name)
  if found > 0 and text ~= "" then
    return text
  end
  return reaper.HasExtState(SECTION, name) and reaper.GetExtState(SECTION, name) or nil
end

--- All settings of a project by name.
function settings.load(project)
  local values = {}
  for _, list in ipairs({ settings.SHOWN, settings.SWITCHES, { "context" } }) do
    for _, name in ipairs(list) do
      local text = stored(project, name)
      local value = text and settings.checked(name, text)
      if value == nil then
        value = default(name)
      end
      values[name] = value
    end
  end
  return values
end

--- Keeps settings for the project and for Reaper.
function settings.save(project, values)
  for name, value in pairs(values) do
    local text = type(value) == "boolean" and (value and "1" or "0") or tostring(value)
    if math.type(value) == "float" then
      text = ("%.10g"):format(value)
    end
    reaper.SetProjExtState(project, SECTION, name, text)
    reaper.SetExtState(SECTION, name, text, true)
  end
end

--- A setting of the machine, such as `exchange`, `port` or `transport`; "" when there is none.
function settings.machine(name)
  return reaper.GetExtState(SECTION, name)
end

return settings
