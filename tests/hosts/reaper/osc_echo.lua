--- Reads packets as hex lines and writes what the scripts' codec makes of each: "refused", or the packets that it would send itself.

package.path = arg[1] .. "/?.lua;" .. package.path
local osc = require("dawbridge.osc")

local function hex(bytes)
  return (bytes:gsub(".", function(letter) return ("%02x"):format(letter:byte()) end))
end

for line in io.lines() do
  local packet = line:gsub("%x%x", function(code) return string.char(tonumber(code, 16)) end)
  local messages = osc.decode(packet)
  local written = {}
  for index, message in ipairs(messages or {}) do
    local fine, bytes = pcall(osc.encode, message.address, message.arguments)
    written[index] = fine and hex(bytes) or "unwritable"
  end
  print(messages and table.concat(written, " ") or "refused")
  io.flush()
end
