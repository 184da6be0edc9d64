--- Talks to the bridge through files: Reaper's Lua has no sockets.
--
-- The bridge makes <exchange>/queue/in and <exchange>/queue/out. We write in/<client>-<n>.part and rename it to .osc, so that no
-- half of a file is ever read; it answers in out/<client>-<n>.osc. A file holds OSC packets, each with its length before it.

local osc = require("dawbridge.osc")

local FileQueue = {}
FileQueue.__index = FileQueue

local FILES_A_POLL = 64 -- so that one poll never holds Reaper up
local LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
local names_made = 0

--- The bridge's exchange folder where its settings do not name another (`files.exchange`).
-- @param system what reaper.GetOS() says
-- @param environment function(name) -> value or nil, such as os.getenv
function FileQueue.default_folder(system, environment)
  if system:find("^Win") then
    local base = environment("LOCALAPPDATA")
    return base and base .. "\\daw-bridge\\daw-bridge\\exchange"
  end
  local home = environment("HOME")
  if system:find("^OSX") or system:find("^macOS") then
    return home and home .. "/Library/Application Support/daw-bridge/exchange"
  end
  local state = environment("XDG_STATE_HOME")
  if not state or state == "" then
    state = home and home .. "/.local/state"
  end
  return state and state .. "/daw-bridge/exchange"
end

-- Random enough that no two scripts of one machine meet: two in the same millisecond have different tables' addresses.
local function random_name()
  names_made = names_made + 1
  local seed = tostring({}) .. os.time() .. os.clock() .. reaper.time_precise() .. names_made
  local hash, letters = 5381, {}
  for position = 1, #seed do
    hash = (hash * 33 + seed:byte(position)) & 0x7fffffffffffffff
  end
  for index = 1, 12 do
    local at = hash % #LETTERS + 1
    letters[index] = LETTERS:sub(at, at)
    hash = hash // #LETTERS
  end
  return "reaper" .. table.concat(letters)
end

--- A client of the queue in this exchange folder; nil and why when the folder is not there.
function FileQueue.open(exchange)
  local self = setmetatable({
    kind = "files",
    client = random_name(),
    queue = exchange .. "/queue",
    written = {},
    sent = 0,
    read = 0,
    waiting = {},
  }, FileQueue)
  local probe = ("%s/in/%s-0.part"):format(self.queue, self.client)
  local file = io.open(probe, "wb")
  if not file then
    return nil, "there is no folder " .. self.queue
  end
  file:close()
  os.remove(probe)
  return self
end

--- Takes a packet; it is written with the others of this poll.
function FileQueue:send(packet)
  self.waiting[#self.waiting + 1] = osc.frame(packet)
end

--- Writes what was sent since the last poll, and returns the packets that have come.
function FileQueue:poll()
  self:_write()
  local packets = {}
  for _ = 1, FILES_A_POLL do
    local path = ("%s/out/%s-%d.osc"):format(self.queue, self.client, self.read + 1)
    local file = io.open(path, "rb")
    if not file then
      break
    end
    local bytes = file:read("a") or ""
    file:close()
    if not os.remove(path) then -- still held by whoever wrote it: next time
      break
    end
    self.read = self.read + 1
    table.move(osc.unframe(bytes), 1, #bytes, #packets + 1, packets)
  end
  return packets
end

function FileQueue:_write()
  if #self.waiting == 0 then
    return
  end
  local name = ("%s/in/%s-%d"):format(self.queue, self.client, self.sent + 1)
  local file = io.open(name .. ".part", "wb")
  if not file then -- the folder is gone: the session hears no answer and says so
    return
  end
  file:write(table.concat(self.waiting))
  file:close()
  if os.rename(name .. ".part", name .. ".osc") then
    self.sent = self.sent + 1
    self.written[#self.written + 1] = name .. ".osc"
    self.waiting = {}
  end
end

--- Leaves nothing behind: a request that nobody took must not be carried out by the next bridge, hours later.
function FileQueue:withdraw()
  for _, path in ipairs(self.written) do
    os.remove(path)
  end
  self.written, self.waiting = {}, {}
end

function FileQueue:close()
  self:_write()
end

return FileQueue
