-- The bridge dies in the middle of the second of two variations: the first is placed, and the loss is told.
return function(world, project, session)
  project.selection = { 0, 2 }
  world:add_track(project).selected = true
  world.ext["dawbridge/prompt"] = "two of them"
  world.ext["dawbridge/variations"] = "2"
  local told = false
  session.run("Variations as takes", function()
    for _, shape in ipairs(world.gfx.frame) do
      if not told and shape[1] == "text" and shape[4]:find("(2 of 2)", 1, true) then
        told = true
        session.say("kill it")
        session.wait()
        world.skipped = world.skipped + 3600 -- Reaper itself stood still: that is nobody's silence
      end
    end
    if told then
      world.skipped = world.skipped + 0.5
    end
  end)
  assert(#world.boxes == 1 and world.boxes[1]:find("has stopped answering", 1, true), world.boxes[1])
  return { undo = { "daw-bridge: variations" }, tracks = { { items = { { takes = { { made_here = true } } } } } } }
end
