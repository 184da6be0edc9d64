-- Nobody answers. The clock is moved, so that nobody waits for it either.
return function(world, project, session)
  project.selection = { 0, 4 }
  world.ext["dawbridge/prompt"] = "anything"
  session.run("Generate into the time selection", function()
    world.skipped = world.skipped + 0.5
  end)
  assert(#world.boxes == 1 and world.boxes[1]:find("daw-bridge up", 1, true), world.boxes[1])
  return { undo = {}, tracks = {} }
end
