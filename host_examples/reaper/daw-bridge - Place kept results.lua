-- @description daw-bridge: place kept results
-- @version 0.1.0
-- @author daw-bridge
-- @noindex
-- @about
--   Puts results whose project, track or item was gone at the edit cursor, as takes of one item.

local folder = ({ reaper.get_action_context() })[2]:match("^(.*[/\\])")
package.path = folder .. "?.lua;" .. package.path

local count, problem = require("dawbridge.app").new():place_kept()
if count ~= nil and count > 0 then
  return
end
reaper.ShowMessageBox(problem or "No results are kept.", "daw-bridge", 0)
