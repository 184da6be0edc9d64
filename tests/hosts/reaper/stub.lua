--- A strict stand-in for Reaper: unknown names, wrong argument counts or types, and dead pointers are errors, as is an undo block that
-- is left open. What the functions do is in world.lua.

local api = require("api")

local stub = {}

local POINTERS = { MediaTrack = true, MediaItem = true, MediaItem_Take = true, PCM_source = true, ReaProject = true,
  AudioAccessor = true }

local function is_pointer(value, kind)
  return type(value) == "table" and rawget(value, "kind") == kind
end

local function fits(kind, value, world)
  if kind == "project" then
    return value == nil or value == 0 or is_pointer(value, "ReaProject") and rawget(value, "open")
  elseif POINTERS[kind] then
    return is_pointer(value, kind) and world.alive(value)
  elseif kind == "integer" then
    return math.type(value) ~= nil and math.tointeger(value) ~= nil
  elseif kind == "number" then
    return type(value) == "number" and value == value
  elseif kind == "userdata" then
    return type(value) == "table" and rawget(value, "kind") ~= nil
  end
  return type(value) == kind
end

local function words(text)
  local found = {}
  for word in text:gmatch("%S+") do
    found[#found + 1] = word
  end
  return found
end

local function fail(name, text, ...)
  error(("%s: " .. text):format(name, ...), 4)
end

local function check(name, kinds, world, ...)
  local given = select("#", ...)
  if given > #kinds then
    fail(name, "%d arguments, at most %d are taken", given, #kinds)
  end
  for index, kind in ipairs(kinds) do
    local optional = kind:sub(-1) == "?"
    local plain = optional and kind:sub(1, -2) or kind
    local value = (select(index, ...))
    if index > given and not optional and plain ~= "project" then
      fail(name, "argument %d (%s) is missing", index, plain)
    elseif not (optional and value == nil) and not fits(plain, value, world) then
      local dead = is_pointer(value, plain) and " that is gone" or ""
      fail(name, "argument %d is %s%s, a %s is wanted", index, tostring(value), dead, plain)
    end
  end
end

local function checked_results(name, kinds, ...)
  for index, kind in ipairs(kinds) do
    local value = (select(index, ...))
    if POINTERS[kind] then
      assert(value == nil or is_pointer(value, kind), name .. ": the stub's own result is no " .. kind)
    end
  end
  return ...
end

-- One function of the API as scripts see it.
local function guarded(name, signature, world, act)
  local takes, gives = signature:match("^(.-)>(.*)$")
  local kinds, results = words(takes), words(gives)
  return function(...)
    check(name, kinds, world, ...)
    world.calls[#world.calls + 1] = name
    return checked_results(name, results, act(...))
  end
end

local function strict(name, members)
  return setmetatable({}, {
    __index = function(_, key)
      local member = members(key)
      if member == nil then
        error(("%s.%s does not exist"):format(name, tostring(key)), 2)
      end
      return member
    end,
    __newindex = function(_, key)
      error(("%s.%s cannot be set"):format(name, tostring(key)), 2)
    end,
  })
end

local function install_gfx(world)
  local functions, variables = {}, {}
  for name, signature in pairs(api.gfx_functions) do
    functions[name] = guarded("gfx." .. name, signature, world, assert(world.gfx[name], name))
  end
  for _, name in ipairs(api.gfx_variables) do
    variables[name] = true
  end
  _G.gfx = setmetatable({}, {
    __index = function(_, key)
      if functions[key] then
        return functions[key]
      elseif variables[key] then
        return world.gfx.state[key]
      end
      error("gfx." .. tostring(key) .. " does not exist", 2)
    end,
    __newindex = function(_, key, value)
      if not variables[key] or type(value) ~= "number" then
        error("gfx." .. tostring(key) .. " cannot be set to " .. tostring(value), 2)
      end
      world.gfx.state[key] = value
    end,
  })
end

--- Makes `reaper` and `gfx` global, over this world.
function stub.install(world)
  local functions = {}
  for name, signature in pairs(api.functions) do
    if world.functions[name] then
      functions[name] = guarded("reaper." .. name, signature, world, world.functions[name])
    end
  end
  for name, signature in pairs(api.extensions) do
    if world.extensions[name] then
      functions[name] = guarded("reaper." .. name, signature, world, world.extensions[name])
    end
  end
  world.has_function = function(name) return functions[name] ~= nil end
  _G.reaper = strict("reaper", function(key) return functions[key] end)
  install_gfx(world)
end

return stub
