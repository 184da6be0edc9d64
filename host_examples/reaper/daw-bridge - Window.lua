-- @description daw-bridge: generative music in the project
-- @version 0.1.0
-- @author daw-bridge
-- @provides
--   [nomain] dawbridge/*.lua
--   [main] daw-bridge - *.lua
--   [data] DawBridge.ReaperOSC > daw-bridge/DawBridge.ReaperOSC
-- @about
--   # daw-bridge
--
--   Music from words, from the selected item or from a MIDI item, made by daw-bridge on this machine and placed in the project to the beat.
--   This window has words, parameters, progress and cancel. The actions beside it do one thing each and can have shortcuts.
--
--   Start the bridge first: `daw-bridge up` in a terminal.

local folder = ({ reaper.get_action_context() })[2]:match("^(.*[/\\])")
package.path = folder .. "?.lua;" .. package.path
require("dawbridge.run").window()
