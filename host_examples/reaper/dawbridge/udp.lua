--- Talks to the bridge over UDP where a socket library is installed: Mavriq Lua Sockets (ReaPack), or LuaSocket.

local Udp = {}
Udp.__index = Udp

local PACKETS_A_POLL = 512
local MAVRIQ = "/Scripts/Mavriq ReaScript Repository/Various/Mavriq-Lua-Sockets/?."

--- The socket library, or nil.
function Udp.library()
  local extension = reaper.GetOS():find("^Win") and "dll" or "so"
  local folder = reaper.GetResourcePath() .. MAVRIQ .. extension
  if not package.cpath:find(folder, 1, true) then
    package.cpath = package.cpath .. ";" .. folder
  end
  local found, socket = pcall(require, "socket.core")
  return found and type(socket) == "table" and socket.udp and socket or nil
end

--- A client of the bridge at this port of the machine; nil and why when no library is installed.
function Udp.open(port)
  local library = Udp.library()
  if not library then
    return nil, "no socket library is installed"
  end
  local handle, problem = library.udp()
  if not handle then
    return nil, problem
  end
  handle:settimeout(0)
  local fine, why = handle:setsockname("127.0.0.1", 0)
  if fine then
    fine, why = handle:setpeername("127.0.0.1", port)
  end
  if not fine then
    handle:close()
    return nil, why
  end
  return setmetatable({ kind = "udp", handle = handle }, Udp)
end

function Udp:send(packet)
  self.handle:send(packet)
end

--- The packets that have come; never waits.
function Udp:poll()
  local packets = {}
  for _ = 1, PACKETS_A_POLL do
    local packet = self.handle:receive()
    if not packet then -- nothing there, or nobody listens: the session's timeouts tell which
      break
    end
    packets[#packets + 1] = packet
  end
  return packets
end

function Udp:withdraw() end

function Udp:close()
  self.handle:close()
end

return Udp
