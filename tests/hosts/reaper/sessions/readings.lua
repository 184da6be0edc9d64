-- What the scripts read from a project, without a bridge: metres, tempo changes, markers, and the regions behind items.
local function same(found, expected, what)
  local fits = found == expected or type(found) == "number" and type(expected) == "number" and math.abs(found - expected) < 1e-6
  assert(fits, ("%s: %s instead of %s"):format(what, tostring(found), tostring(expected)))
end

local function metres(project_module, world, project)
  for _, each in ipairs({ { 4, 4, 120, 1, 4 }, { 3, 4, 120, 1, 3 }, { 6, 8, 80, 1.5, 2 }, { 12, 8, 80, 1.5, 4 }, { 7, 8, 120, 1, nil },
    { 3, 8, 120, 1, nil }, { 3, 2, 120, 1, 6 } }) do
    project.tempo = { { time = 0, bpm = 120, numerator = each[1], denominator = each[2] } }
    local metre = project_module.metre(project, 5)
    same(metre.bpm, each[3], metre.text)
    same(metre.quarters, each[4], metre.text)
    same(metre.beats_per_bar, each[5], metre.text)
  end
  project.tempo = { { time = 0, bpm = 100, numerator = 4, denominator = 4 }, { time = 8, bpm = 90, numerator = 4, denominator = 4 } }
  same(project_module.tempo_changes(project, 0, 8), false, "a change at the end")
  same(project_module.tempo_changes(project, 8, 12), false, "a change at the beginning")
  same(project_module.tempo_changes(project, 6, 9), true, "a change on the way")
  project.tempo[1].gradual = true
  same(project_module.tempo_changes(project, 6, 8), true, "a ramp")
  same(world:to_quarters(project, 9), 8 * 100 / 60 + 1.5, "the stub's own map")
end

local function markers(project_module, project)
  project.markers = { { time = 12, name = "= full orchestra" }, { time = 10, name = "dark" }, { time = 11, name = "" },
    { time = 9.9, name = "before" }, { time = 14, name = "at the end" }, { time = 13, ends = 20, name = "verse || chorus" },
    { time = 12.5, name = " || " } }
  local marks = project_module.marks(project, 10, 14)
  local prompt, sections = project_module.sections(marks, "strings")
  same(prompt, "strings, dark", "the prompt")
  same(sections, "2.0000 full orchestra || 3.0000 strings, verse   chorus", "the sections")
  prompt, sections = project_module.sections(marks, "a || b")
  same(prompt .. "/" .. sections, "dark/2.0000 full orchestra || 3.0000 verse   chorus", "beside several prompts")
end

local function regions(region, world, track)
  local file = world:add_source({ path = "/music/loop.wav", length = 8 })
  local section = world:add_source({ parent = file, section = { offset = 2, length = 4 } })
  local inner = world:add_source({ parent = section, section = { offset = 1, length = 2 } })
  local midi = world:add_source({ quarters = 8 })
  -- source, item's length, offset, rate, loops; then start and length, or the reason why not
  local cases = {
    { file, 4, 1, 1, 0, 1, 4 }, { file, 4, 1, 2, 0, 1, 8 - 1, "ends in silence" }, { file, 3, 1, 2, 0, 1, 6 },
    { file, 40, 0, 1, 1, 0, 8 }, { file, 41, 0, 1, 1, 0, 1 }, { file, 40.2, 0, 1, 1, 0, 0, "only just begun again" },
    { file, 4, -1, 1, 0, 0, 3 }, { section, 3, 0.5, 1, 0, 2.5, 3 }, { section, 6, 0, 1, 1, 2, 2 }, { inner, 2, 0, 1, 0, 3, 2 },
    { file, 0.2, 0, 1, 0, 0, 0, "too short" }, { midi, 4, 0, 1, 0, 0, 0, "does not play an audio file" },
    { file, 8, 0, 1, 0, 3, 5, nil, 5 },
  }
  for index, case in ipairs(cases) do
    local item = world:add_item(track, { D_LENGTH = case[2], B_LOOPSRC = case[5] })
    world:add_take(item, case[1], { D_STARTOFFS = case[3], D_PLAYRATE = case[4] })
    local found, problem = region.of(item, case[9] or 100)
    if case[8] then
      assert(not found and problem:find(case[8], 1, true), ("case %d: %s"):format(index, tostring(problem)))
    else
      assert(found, ("case %d: %s"):format(index, tostring(problem)))
      same(found.path, "/music/loop.wav", "path")
      same(found.start, case[6], ("start of case %d"):format(index))
      same(found.length, case[7], ("length of case %d"):format(index))
    end
    world:delete_item(item)
  end
  local empty = world:add_item(track)
  same(select(2, region.of(empty, 10)), "The item is empty.", "an empty item")
  world:delete_item(empty)
end

local function orders(order)
  local one = { address = "/bridge/play", values = { prompt = "100 % & = ß\n", temperature = 0.1, seed = 7, sound = true },
    notes = { values = { 60, 1 / 3, 0.1, 96 }, count = 1, beats = 4.25 } }
  local again = order.parse(order.text(one))
  for name, value in pairs(one.values) do
    same(again.values[name] == value, true, name)
  end
  same(again.notes.values[2] == 1 / 3, true, "a note's start to the last digit")
  same(again.notes.beats, 4.25, "the length in beats")
  same(order.parse("address=%2Fbridge%2Fsing"), nil, "a request of another release")
  same(order.parse(""), nil, "nothing")
end

return function(world, project)
  package.path = os.getenv("SCRIPTS") .. "/?.lua;" .. package.path
  local project_module = require("dawbridge.project")
  metres(project_module, world, project)
  markers(project_module, project)
  regions(require("dawbridge.region"), world, world:add_track(project))
  orders(require("dawbridge.order"))
  local settings = require("dawbridge.settings")
  world.ext["dawbridge/temperature"], world.ext["dawbridge/top_k"] = "99", "rubbish"
  project.ext["dawbridge/guidance"], world.ext["dawbridge/guidance"] = "2", "7"
  local loaded = settings.load(project)
  same(loaded.temperature, 4.0, "beyond the range")
  same(loaded.top_k, 250, "no number")
  same(loaded.guidance, 2.0, "the project goes first")
  return { undo = {}, tracks = { { items = {} } } }
end
