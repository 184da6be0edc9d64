-- @description daw-bridge: again with a new seed
-- @version 0.1.0
-- @author daw-bridge
-- @noindex
-- @about
--   The selected item once more, with a new seed, as a new take of it.

local folder = ({ reaper.get_action_context() })[2]:match("^(.*[/\\])")
package.path = folder .. "?.lua;" .. package.path
require("dawbridge.run").action("again")
