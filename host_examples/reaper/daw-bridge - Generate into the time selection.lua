-- @description daw-bridge: generate into the time selection
-- @version 0.1.0
-- @author daw-bridge
-- @noindex
-- @about
--   Music from words for the time selection, in the project's tempo, on the selected track or a new one.

local folder = ({ reaper.get_action_context() })[2]:match("^(.*[/\\])")
package.path = folder .. "?.lua;" .. package.path
require("dawbridge.run").action("generate", true)
