-- A time selection of two bars of 7/4 at 87.5 beats/min, on a selected track with something before it.
return function(world, project, session)
  project.tempo = { { time = 0, bpm = 87.5, numerator = 4, denominator = 4 },
    { time = 10.971428571428571, bpm = 87.5, numerator = 7, denominator = 4 } }
  local start = 10.971428571428571
  local ends = start + 7 * 60 / 87.5
  project.selection = { start, ends }
  project.markers = { { time = start + 2, name = "full orchestra" }, { time = ends + 1, name = "not yet" } }
  local drums = world:add_track(project)
  world:add_item(drums, { D_POSITION = 0, D_LENGTH = start })
  drums.selected = true
  world.answers = { "dark strings" }
  local most = 0
  session.run("Generate into the time selection", function()
    for _, shape in ipairs(world.gfx.frame) do
      most = math.max(most, shape[1] == "rect" and shape[6] and shape[5] == 14 and shape[4] or 0)
    end
  end)
  assert(most > 0, "no progress was shown")
  assert(#world.boxes == 0, world.boxes[1])
  return {
    undo = { "daw-bridge: generate" },
    tracks = { { items = { { values = { D_LENGTH = start } }, {
      values = { D_POSITION = start, D_LENGTH = ends - start, B_LOOPSRC = 0, D_FADEINLEN = 0 },
      takes = { { values = { D_STARTOFFS = 0, D_PLAYRATE = 1 }, made_here = true } },
    } } } },
  }
end
