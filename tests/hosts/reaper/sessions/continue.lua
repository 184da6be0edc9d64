-- The selected item plays a section of a file at rate 0.8, looped, beside an item that leaves no room; then one that must be refused.
return function(world, project, session, studio)
  project.tempo[1].bpm = 100
  local file = world:add_source({ path = studio .. "/reaper loop.wav", length = 8, rate = 32000 })
  local section = world:add_source({ parent = file, section = { offset = 1, length = 6 } })
  local track = world:add_track(project)
  -- 10 s at rate 0.8 are 8 s of a section of 6 s: the last pass is 2 s long, seconds 1 to 3 of the file.
  local item = world:add_item(track, { D_POSITION = 0.123456789, D_LENGTH = 10, D_VOL = 0.5 })
  local take = world:add_take(item, section, { D_PLAYRATE = 0.8, D_VOL = 0.7, D_PITCH = 2 })
  item.selected = true
  project.selection = { 2, 10.123456789 + 4 }
  world.ext["dawbridge/prompt"] = "warm strings"
  session.run("Continue the selected item")
  assert(#world.boxes == 0, world.boxes[1])

  section.section.reversed = true
  world:delete_item(track.items[2])
  item.selected = true
  session.run("Continue the selected item")
  assert(#world.boxes == 1 and world.boxes[1]:find("backwards"), world.boxes[1])
  section.section.reversed = false
  take.stretch_markers = 1
  session.run("Continue the selected item")
  assert(#world.boxes == 2 and world.boxes[2]:find("stretch markers"), world.boxes[2])
  take.stretch_markers = 0

  world:add_item(track, { D_POSITION = 12, D_LENGTH = 1 }) -- no room any more: a new track below
  world:add_track(project)
  session.run("Continue the selected item")
  assert(#world.boxes == 2, world.boxes[3])
  return {
    undo = { "daw-bridge: continue", "daw-bridge: continue" },
    tracks = {
      { items = { { values = { D_LENGTH = 10 } }, { values = { D_POSITION = 12 } } } },
      { name = "daw-bridge", items = { {
        values = { D_POSITION = 10.123456789, D_LENGTH = 4, D_VOL = 0.5, D_FADEINLEN = 0 },
        takes = { { values = { D_PLAYRATE = 0.8, D_VOL = 0.7, D_PITCH = 2, D_STARTOFFS = 0 } } },
      } } },
      { items = {} },
    },
  }
end
