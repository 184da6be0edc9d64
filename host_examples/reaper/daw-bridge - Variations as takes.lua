-- @description daw-bridge: variations as takes
-- @version 0.1.0
-- @author daw-bridge
-- @noindex
-- @about
--   Several versions as takes of one item: of the selected one where it was made here, else for the time selection.

local folder = ({ reaper.get_action_context() })[2]:match("^(.*[/\\])")
package.path = folder .. "?.lua;" .. package.path
require("dawbridge.run").action("variations", true)
