-- The action “Cancel”, run while another script is waiting for its music; then once more, when there is nothing to cancel.
return function(world, project, session)
  project.selection = { 0, 600 }
  world:add_track(project).selected = true
  world.ext["dawbridge/prompt"] = "endless drone"
  local asked, waited = false, 0
  session.run("Generate into the time selection", function()
    if waited < 3 then -- a silence in which the bridge is asked whether it is still there
      waited = waited + 1
      world.skipped = world.skipped + 0.7
    end
    for _, shape in ipairs(world.gfx.frame) do
      if not asked and shape[1] == "text" and shape[4]:find("of 600", 1, true) then
        asked = true
        session.run_beside("Cancel")
      end
    end
  end)
  assert(asked, "no progress was shown")
  assert(#world.boxes == 0, world.boxes[1])
  world.skipped = world.skipped + 10
  session.run_beside("Cancel")
  assert(#world.boxes == 1 and world.boxes[1] == "Nothing is being made.", world.boxes[1])
  return { undo = {}, tracks = { { items = {} } } }
end
