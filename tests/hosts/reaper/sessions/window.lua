-- The window: a prompt is typed, a slider moved, a button pressed; what is made while the window is closed is placed all the same.
local function keys(world, text)
  for _, code in utf8.codes(text) do
    world.gfx.keys[#world.gfx.keys + 1] = code < 256 and code or code + (("u"):byte() << 24)
  end
end

local function find(world, text, within)
  for _, shape in ipairs(world.gfx.frame) do
    if shape[1] == "text" and (shape[4] == text or within and shape[4]:find(text, 1, true)) then
      return shape
    end
  end
end

return function(world, project, session)
  local state = world.gfx.state
  project.selection = { 1, 4 }
  world:add_track(project).selected = true
  local function click(x, y)
    state.mouse_x, state.mouse_y, state.mouse_cap = x, y, 1
  end
  local steps = {
    [2] = function() click(200, 30) end,
    [3] = function() state.mouse_cap = 0 end,
    [4] = function() keys(world, "dark strings — low brass swwells") end,
    [5] = function() -- the cursor key four times, then backspace: between the two letters
      for _ = 1, 4 do
        world.gfx.keys[#world.gfx.keys + 1] = 1818584692
      end
    end,
    [6] = function() keys(world, "x\8\8") end,
    [7] = function()
      local label = assert(find(world, "guidance"))
      click(110 + (state.w - 2 * 14 - 96 - 66) * 0.5, label[3] + 5)
    end,
    [9] = function() state.mouse_cap = 0 end,
    [10] = function()
      assert(world.ext["dawbridge/guidance"] == nil)
      local label = assert(find(world, "Generate"))
      click(label[2] + 10, label[3] + 5)
    end,
    [11] = function() state.mouse_cap = 0 end,
  }
  local picture
  session.run("Window", function(tick)
    if steps[tick] then
      steps[tick]()
    end
    if tick > 12 and not picture and find(world, "Cancel") and find(world, " of 3.0", true) and not find(world, "0.0 of 3.0", true) then
      picture = world.gfx.frame
      keys(world, "\27")
    end
  end)
  world.gfx.frame = picture
  assert(not world.gfx.open and picture, "the window did not close while it was made")
  assert(world.ext["dawbridge/prompt"] == "dark strings — low brass swells", world.ext["dawbridge/prompt"])
  assert(project.ext["dawbridge/guidance"] == "10", project.ext["dawbridge/guidance"])
  return { undo = { "daw-bridge: generate" }, tracks = { { items = { { values = { D_POSITION = 1, D_LENGTH = 3 } } } } } }
end
