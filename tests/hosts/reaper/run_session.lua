--- Replays a session: a project, the scripts that are run in it, what the musician does meanwhile, and the edits that are expected.
--
--   lua5.4 run_session.lua <session>      in this folder, with SCRIPTS, EXCHANGE, STUDIO, TRANSPORT and PORT in the environment
--
-- Prints lines for the test that started it (what `say` is given) and at last the world as JSON. Exit code 0 when all is as expected.

local here = arg[0]:match("^(.*)/[^/]*$") or "."
package.path = here .. "/?.lua;" .. package.path

local socket = require("socket")
local World = require("world")
local give_functions = require("functions")
local json = require("json")
local stub = require("stub")

local TICK_SECONDS = 0.005
local LONGEST_SECONDS = 60

local function environment(name)
  return assert(os.getenv(name), name .. " is not set")
end

local world = World.new({
  clock = socket.gettime,
  ext = {
    ["dawbridge/exchange"] = environment("EXCHANGE"),
    ["dawbridge/transport"] = environment("TRANSPORT"),
    ["dawbridge/port"] = environment("PORT"),
  },
})
give_functions(world)
stub.install(world)

local function forget_modules()
  for name in pairs(package.loaded) do
    if name:find("^dawbridge%.") then
      package.loaded[name] = nil
    end
  end
end

local session = {}

--- Tells the test that started us something, as a line.
function session.say(...)
  print(...)
  io.flush()
end

--- Waits for a line of the test.
function session.wait()
  return io.read("l")
end

--- Runs a script as Reaper does: first its file, then what it defers, until nothing is left; then what it asked for at its end.
-- @param name of the action, such as "Cancel"
-- @param each function(tick) called between polls: what the musician does
function session.run(name, each)
  world.action = environment("SCRIPTS") .. "/daw-bridge - " .. name .. ".lua"
  world.deferred, world.at_exit = {}, {}
  local path = package.path
  dofile(world.action)
  local ends, tick = socket.gettime() + LONGEST_SECONDS, 0
  while #world.deferred > 0 do
    assert(socket.gettime() < ends, "the script does not end: " .. name)
    local due = world.deferred
    world.deferred = {}
    for _, act in ipairs(due) do
      act()
    end
    tick = tick + 1
    if each then
      each(tick)
    end
    socket.sleep(TICK_SECONDS)
  end
  for _, act in ipairs(world.at_exit) do
    act()
  end
  package.path = path
  forget_modules()
end

--- A script that another one starts beside itself, such as “Cancel” while something is made; it must not defer.
function session.run_beside(name)
  local deferred, at_exit, action, path = world.deferred, world.at_exit, world.action, package.path
  world.deferred, world.at_exit = {}, {}
  world.action = environment("SCRIPTS") .. "/daw-bridge - " .. name .. ".lua"
  local loaded = {}
  for key, module in pairs(package.loaded) do
    if key:find("^dawbridge%.") then
      loaded[key] = module
    end
  end
  forget_modules()
  dofile(world.action)
  assert(#world.deferred == 0, name .. " goes on")
  forget_modules()
  for key, module in pairs(loaded) do
    package.loaded[key] = module
  end
  world.deferred, world.at_exit, world.action, package.path = deferred, at_exit, action, path
end

-- The project as it is compared: what a musician sees and hears of it.
local function seen(project)
  local tracks = {}
  for index, track in ipairs(project.tracks) do
    local items = {}
    for place, item in ipairs(track.items) do
      local takes = {}
      for number, take in ipairs(item.takes) do
        takes[number] = { name = take.texts.P_NAME, path = take.source and take.source.path or "", values = take.values,
          length = take.source and take.source.length or 0, made_here = take.ext.dawbridge ~= nil }
      end
      items[place] = { values = item.values, notes = item.texts.P_NOTES, takes = takes, active = item.active }
    end
    tracks[index] = { name = track.texts.P_NAME, items = items }
  end
  return { tracks = tracks, undo = project.undo, open = project.open }
end

-- Everything that is expected must be there, and lists must have the same length.
local function compare(expected, found, where)
  if type(expected) ~= "table" then
    local same = expected == found
    if type(expected) == "number" and type(found) == "number" then
      same = math.abs(expected - found) < 1e-9
    end
    assert(same, ("%s is %s, not %s"):format(where, tostring(found), tostring(expected)))
    return
  end
  assert(type(found) == "table", where .. " is missing")
  assert(#expected == #found or #expected == 0, ("%s has %d entries, not %d"):format(where, #found, #expected))
  for key, value in pairs(expected) do
    compare(value, found[key], where .. "." .. tostring(key))
  end
end

local play = dofile(here .. "/sessions/" .. arg[1] .. ".lua")
local project = world:add_project()
local expected = play(world, project, session, environment("STUDIO"))
compare(expected, seen(project), "project")
assert(#world.loose_edits == 0, "edited outside an undo step: " .. table.concat(world.loose_edits, ", "))
assert(project.depth == 0 and world.ui_refresh == 0, "an undo step or PreventUIRefresh was left open")
local others = {}
for index, each in ipairs(world.projects) do
  others[index] = seen(each)
end
print(json.encode({ project = seen(project), projects = others, boxes = world.boxes, ext = world.ext, frame = world.gfx.frame,
  width = world.gfx.state.w, height = world.gfx.state.h }))
