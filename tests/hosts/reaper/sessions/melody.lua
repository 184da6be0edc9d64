-- A MIDI item of 40 notes in 6/8, one of them muted, one that begins before the item: dotted quarters are the beats.
return function(world, project, session)
  project.tempo = { { time = 0, bpm = 120, numerator = 6, denominator = 8 } }
  local track = world:add_track(project)
  local item = world:add_item(track, { D_POSITION = 3, D_LENGTH = 5 })
  local take = world:add_take(item, world:add_source({ quarters = 10 }))
  take.notes = {}
  for index = 0, 39 do
    take.notes[index + 1] = { from = index * 0.25, to = index * 0.25 + 0.2, pitch = 60 + index % 12 }
  end
  take.notes[40].muted = true
  take.notes[1].from = -1
  item.selected = true
  world.ext["dawbridge/prompt"] = "flute"
  session.run("Follow the selected MIDI item")
  session.run("Again with a new seed")
  assert(#world.boxes == 0, world.boxes[1])
  return {
    undo = { "daw-bridge: follow the MIDI item", "daw-bridge: again" },
    tracks = { { items = { { values = { D_POSITION = 3 } } } },
      { name = "daw-bridge", items = { { values = { D_POSITION = 3, D_LENGTH = 5 } } } } },
  }
end
