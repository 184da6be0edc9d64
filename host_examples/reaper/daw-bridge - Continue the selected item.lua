-- @description daw-bridge: continue the selected item
-- @version 0.1.0
-- @author daw-bridge
-- @noindex
-- @about
--   Goes on from the selected audio item, right where it ends; a time selection says up to where.

local folder = ({ reaper.get_action_context() })[2]:match("^(.*[/\\])")
package.path = folder .. "?.lua;" .. package.path
require("dawbridge.run").action("continue")
