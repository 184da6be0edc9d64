-- @description daw-bridge: cancel
-- @version 0.1.0
-- @author daw-bridge
-- @noindex
-- @about
--   Cancels everything that these scripts are making.

local folder = ({ reaper.get_action_context() })[2]:match("^(.*[/\\])")
package.path = folder .. "?.lua;" .. package.path

if not require("dawbridge.app").cancel_all() then
  reaper.ShowMessageBox("Nothing is being made.", "daw-bridge", 0)
end
