-- The clock is told to follow this project.
return function(world, project, session)
  project.tempo = { { time = 0, bpm = 132.5, numerator = 3, denominator = 4 }, { time = 10, bpm = 132.5, numerator = 7, denominator = 8 } }
  session.run("Follow the transport")
  assert(#world.boxes == 0, world.boxes[1])
  project.cursor = 11
  session.run("Follow the transport")
  assert(#world.boxes == 1 and world.boxes[1]:find("7/8", 1, true), world.boxes[1])
  return { undo = {}, tracks = {} }
end
