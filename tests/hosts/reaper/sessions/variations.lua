-- Three takes of one item in one undo step; then two more of the same item; then one more with a new seed.
return function(world, project, session)
  project.selection = { 4, 6 }
  world:add_track(project).selected = true
  world.ext["dawbridge/prompt"] = "soft pads"
  world.ext["dawbridge/variations"] = "3"
  session.run("Variations as takes")
  assert(#project.undo == 1 and #project.tracks[1].items[1].takes == 3, world.boxes[1])

  local item = project.tracks[1].items[1]
  item.takes[1].values.D_STARTOFFS = 0.25 -- trimmed by the musician: the new takes lie as this one does
  item.values.D_LENGTH = 1.5
  project.ext["dawbridge/variations"] = "2"
  session.run("Variations as takes")
  session.run("Again with a new seed")
  assert(#world.boxes == 0, world.boxes[1])
  local take = { values = { D_STARTOFFS = 0 }, made_here = true }
  local later = { values = { D_STARTOFFS = 0.25 }, made_here = true }
  return {
    undo = { "daw-bridge: variations", "daw-bridge: variations", "daw-bridge: again" },
    tracks = { { items = { {
      values = { D_POSITION = 4, D_LENGTH = 1.5 },
      active = 6,
      takes = { { made_here = true }, take, take, later, later, later },
    } } } },
  }
end
