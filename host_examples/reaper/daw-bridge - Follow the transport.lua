-- @description daw-bridge: follow the transport
-- @version 0.1.0
-- @author daw-bridge
-- @noindex
-- @about
--   Lets the bridge's clock follow this project: metre and tempo at the edit cursor now, and then what Reaper's OSC surface sends.

local folder = ({ reaper.get_action_context() })[2]:match("^(.*[/\\])")
package.path = folder .. "?.lua;" .. package.path

local project = require("dawbridge.project")

require("dawbridge.run").question(function(app, finish)
  local metre = project.metre(app.project, reaper.GetCursorPositionEx(app.project))
  if metre.denominator ~= 4 then -- the surface counts eighths there, and its tempo in quarters
    finish(("The metre here is %s: the bridge can follow metres in quarters only."):format(metre.text))
    return
  end
  app:ask("/bridge/clock", { source = "host", beats_per_bar = metre.beats_per_bar }, {
    fail = function(_, text) finish(text) end,
    done = function()
      app:tell("/tempo/raw", { metre.bpm }) -- the surface tells a tempo only when it changes
      finish()
    end,
  })
end)
