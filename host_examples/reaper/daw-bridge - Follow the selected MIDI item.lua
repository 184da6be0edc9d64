-- @description daw-bridge: follow the selected MIDI item
-- @version 0.1.0
-- @author daw-bridge
-- @noindex
-- @about
--   Music that follows the notes of the selected MIDI item, as long as the item.

local folder = ({ reaper.get_action_context() })[2]:match("^(.*[/\\])")
package.path = folder .. "?.lua;" .. package.path
require("dawbridge.run").action("follow", true)
