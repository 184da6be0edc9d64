--- One running script: a session, what it makes, and the message that it shows. Polled from reaper.defer.

local FileQueue = require("dawbridge.file_queue")
local Job = require("dawbridge.job")
local Session = require("dawbridge.session")
local Udp = require("dawbridge.udp")
local actions = require("dawbridge.actions")
local kept = require("dawbridge.kept")
local place = require("dawbridge.place")
local schema = require("dawbridge.schema")
local settings = require("dawbridge.settings")

local App = {}
App.__index = App

local HEARTBEAT_SECONDS = 2.0
local KEEP_WAITING = "%d result(s) are kept: “Place kept results” puts them at the edit cursor."

-- The ways to the bridge: UDP where a socket library is installed, files everywhere. The machine's settings may name one of them.
local function ways()
  local only = settings.machine("transport")
  local port = math.floor(tonumber(settings.machine("port")) or schema.port)
  local exchange = settings.machine("exchange")
  if exchange == "" then
    exchange = FileQueue.default_folder(reaper.GetOS(), os.getenv) or ""
  end
  local found = {}
  if only ~= "files" then
    found[#found + 1] = function() return Udp.open(port) end
  end
  if only ~= "udp" then
    found[#found + 1] = function() return FileQueue.open(exchange) end
  end
  return found
end

function App.new()
  local self = setmetatable({ jobs = {}, message = "", cancel_seen = reaper.GetExtState(settings.SECTION, "cancel") }, App)
  self:_look_at_project()
  local waiting = #kept.all()
  if waiting > 0 then
    self.message = KEEP_WAITING:format(waiting)
  end
  return self
end

-- Another project tab has settings of its own.
function App:_look_at_project()
  local project = reaper.EnumProjects(-1)
  if project ~= self.project then
    self.project = project
    self.settings = settings.load(project)
  end
end

function App:_open_session()
  if not self.session or self.session.state == "absent" or self.session.state == "closed" then
    self.session = Session.new(ways(), reaper.time_precise)
  end
  return self.session
end

--- Starts an action by its name in actions.lua. Returns the job, or nil when it cannot be done: then `message` says why.
function App:start(name)
  self:_look_at_project()
  settings.save(self.project, self.settings)
  local context = { project = self.project, settings = self.settings }
  local orders, plan, title = actions[name](context)
  if not orders then
    self.message, self.problem = plan, plan
    return nil
  end
  self.problem, self.notice = nil, context.notice
  local job = Job.start(self:_open_session(), orders, plan, title)
  self.jobs[#self.jobs + 1] = job
  return job
end

--- Asks for something that is answered at once.
function App:ask(address, values, handlers)
  return self:_open_session():request(address, values, handlers)
end

--- Sends an address that is no request, such as what Reaper's own OSC surface sends.
function App:tell(address, arguments)
  self:_open_session():tell(address, arguments)
end

--- Cancels everything that this script makes.
function App:cancel()
  for _, job in ipairs(self.jobs) do
    job:cancel()
  end
end

--- Whether something is being made.
function App:busy()
  return #self.jobs > 0
end

--- How far all of it is, 0 to 1; nil when nothing is being made.
function App:progress()
  if #self.jobs == 0 then
    return nil
  end
  local sum = 0
  for _, job in ipairs(self.jobs) do
    sum = sum + job:progress()
  end
  return sum / #self.jobs
end

--- One poll.
function App:tick()
  self:_look_at_project()
  self:_hear_cancel()
  if self.session then
    self.session:poll()
  end
  local left = {}
  for _, job in ipairs(self.jobs) do
    job:tick()
    self.message = job.message
    if job:over() then
      self.last = job
      self.problem = job.state == "failed" and job.message or nil
    else
      left[#left + 1] = job
    end
  end
  self.jobs = left
  if #left > 0 then
    reaper.SetExtState(settings.SECTION, "running", tostring(reaper.time_precise()), false)
  end
end

-- The action “Cancel” is another script: it is heard through ExtState.
function App:_hear_cancel()
  local asked = reaper.GetExtState(settings.SECTION, "cancel")
  if asked ~= self.cancel_seen then
    self.cancel_seen = asked
    self:cancel()
  end
end

--- Asks every running script to cancel what it makes. Returns whether there is one.
function App.cancel_all()
  reaper.SetExtState(settings.SECTION, "cancel", tostring(reaper.time_precise()), false)
  local beat = tonumber(reaper.GetExtState(settings.SECTION, "running"))
  return beat ~= nil and reaper.time_precise() - beat < HEARTBEAT_SECONDS
end

--- Places what was kept at the edit cursor, as takes of one item, in one undo step. Returns how many, or nil and why not.
function App:place_kept()
  self:_look_at_project()
  local results = kept.all()
  if #results == 0 then
    return 0
  end
  local plan = place.plan({ project = self.project, position = reaper.GetCursorPositionEx(self.project) })
  local item, problem = place.results(plan, results, "daw-bridge: place kept results")
  if not item then
    return nil, problem
  end
  kept.clear()
  return #results
end

--- Ends the script in order.
function App:close()
  for _, job in ipairs(self.jobs) do
    job:abandon()
  end
  if self.session then
    self.session:close()
  end
end

return App
