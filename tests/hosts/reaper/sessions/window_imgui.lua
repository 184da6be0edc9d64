-- The window with ReaImGui, where that extension is installed: words, a slider, a switch, a button, an error, cancel.
return function(world, project, session)
  local here = arg[0]:match("^(.*)/[^/]*$")
  world.extensions.ImGui_GetBuiltinPath = function() return here .. "/imgui" end
  require("stub").install(world)
  project.selection = { 0, 0.05 }
  world:add_track(project).selected = true
  local cancelled = false
  session.run("Window", function(tick)
    local stage = imgui_stage
    if tick == 2 then
      stage.typed = { prompt = "long drone", temperature = 1.25, ["top k"] = 40, ["Markers"] = false, ["Hear it now"] = false }
    elseif tick == 3 then
      stage.press["Generate"] = true
    elseif tick == 5 then
      assert(stage.shown.problem and stage.shown.problem:find("0.1 to 3600", 1, true), stage.shown.problem)
      project.selection = { 0, 300 }
      stage.press["Generate"] = true
    elseif stage.shown.progress and stage.shown.progress > 0 and not cancelled then
      cancelled = true
      assert(stage.shown["Generate"] == false, "a second one can be begun")
      stage.press["Cancel"] = true
    elseif cancelled and not stage.shown.progress then
      stage.open = false
    end
  end)
  assert(imgui_stage.windows == 0, "Begin without End")
  assert(imgui_stage.shown.text:find("^Cancelled"), imgui_stage.shown.text)
  local kept = project.ext
  assert(kept["dawbridge/temperature"] == "1.25" and kept["dawbridge/top_k"] == "40" and kept["dawbridge/send_markers"] == "0")
  assert(kept["dawbridge/prompt"] == "long drone", kept["dawbridge/prompt"])
  return { undo = {}, tracks = { { items = {} } } }
end
