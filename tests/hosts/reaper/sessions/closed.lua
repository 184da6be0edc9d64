-- Music is asked for in three projects: one is closed meanwhile, in one the track is deleted, one goes behind another tab. Nothing is lost.
local function when_running(world, act)
  local done = false
  return function(tick)
    for _, shape in ipairs(world.gfx.frame) do
      if not done and shape[1] == "text" and shape[4]:find("being made", 1, true) then
        done = true
        act(tick)
      end
    end
  end
end

return function(world, project, session)
  world.ext["dawbridge/prompt"] = "kept"
  local first = world:add_project({ selection = { 0, 2 } })
  world.current = 2
  session.run("Generate into the time selection", when_running(world, function() world:close_project(first) end))
  assert(#world.boxes == 1 and world.boxes[1]:find("project was closed", 1, true), world.boxes[1])

  project.selection = { 8, 10 }
  local track = world:add_track(project)
  track.selected = true
  session.run("Generate into the time selection", when_running(world, function() world:delete_track(track) end))
  assert(#world.boxes == 2 and world.boxes[2]:find("track is gone", 1, true), world.boxes[2])

  local other = world:add_project()
  local behind
  local go_behind = when_running(world, function() world.current = 2 end)
  session.run("Generate into the time selection", function(tick)
    go_behind(tick)
    for _, shape in ipairs(world.gfx.frame) do
      if not behind and shape[1] == "text" and shape[4]:find("Ready: it is placed", 1, true) then
        behind = true
        assert(#project.undo == 0 and #other.undo == 0, "placed while its project was behind")
        world.current = 1
      end
    end
  end)
  assert(behind, "it did not wait for its project")

  project.cursor = 20.5
  session.run_beside("Place kept results")
  session.run_beside("Place kept results")
  assert(#world.boxes == 3 and world.boxes[3] == "No results are kept.", world.boxes[3])
  return {
    undo = { "daw-bridge: generate", "daw-bridge: place kept results" },
    tracks = {
      { items = { { values = { D_POSITION = 8, D_LENGTH = 2 } } } },
      { items = { { values = { D_POSITION = 20.5 }, takes = { { made_here = true }, { made_here = true } } } } },
    },
  }
end
