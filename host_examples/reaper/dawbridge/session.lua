--- A conversation with the bridge: requests, their answers by id, the events of their streams, and what is said when nobody answers.
--
-- Nothing here waits: `poll` is called from reaper.defer, some thirty times a second, and calls the handlers of what has come.

local osc = require("dawbridge.osc")
local schema = require("dawbridge.schema")

local Session = {}
Session.__index = Session

Session.ABSENT = "The bridge does not answer. Start it in a terminal with:  daw-bridge up"
Session.LOST = "The bridge has stopped answering. Start it again with:  daw-bridge up"

local GREETING_SECONDS = { udp = 1.0, files = 3.0 } -- until a way counts as one on which nobody answers
local ANSWER_SECONDS = 15.0 -- for a request that opens no stream
local PING_SECONDS = 1.0
local LOST_SECONDS = 8.0
local PAUSE_SECONDS = 1.0 -- between two polls: Reaper had something else to do, such as a dialogue, and nothing could be heard

--- A session that tries these ways to the bridge, in order.
-- @param ways functions that return an open transport, or nil and why not
-- @param now function() -> seconds, such as reaper.time_precise
function Session.new(ways, now)
  local self = setmetatable({
    now = now,
    ways = ways,
    way = 0,
    state = "connecting", -- then ready, absent or closed
    problems = {},
    pending = {},
    unsent = {},
    streams = {},
    last_id = 0,
    heard_at = now(),
    polled_at = now(),
    pinged_at = 0,
  }, Session)
  self:_try_next_way()
  return self
end

function Session:_try_next_way()
  if self.transport then
    self.transport:withdraw()
    self.transport:close()
    self.transport = nil
  end
  while self.way < #self.ways do
    self.way = self.way + 1
    local transport, problem = self.ways[self.way]()
    if transport then
      self.transport = transport
      self.greeted_at = self.now()
      self:_send("/bridge/version", { self:_next_id() })
      return
    end
    self.problems[#self.problems + 1] = problem
  end
  self.state = "absent"
  self:_fail_all("absent", Session.ABSENT)
end

function Session:_next_id()
  self.last_id = self.last_id % 16000000 + 1 -- a float of 32 bits still tells them apart
  return self.last_id
end

function Session:_send(address, arguments)
  self.transport:send(osc.encode(address, arguments))
end

-- A value in the type that the schema names, or nil and what is wrong with it.
local function typed(spec, value)
  if spec.kind == "bool" then
    return (value == true or value == 1) and 1 or 0
  elseif spec.kind == "str" then
    return tostring(value)
  end
  local number = tonumber(value)
  if not number or number ~= number then
    return nil, ("%s = %s is no number"):format(spec.name, tostring(value))
  elseif (spec.minimum and number < spec.minimum) or (spec.maximum and number > spec.maximum) then
    return nil, ("%s = %s is not in %s to %s"):format(spec.name, tostring(value), tostring(spec.minimum), tostring(spec.maximum))
  end
  return spec.kind == "int" and math.floor(number + 0.5) or number + 0.0
end

--- The arguments of a request in the order that the schema asks for; nil and why when one is not allowed.
-- @param given values by name; numbers of `rest` as a list under its name
function Session.arguments(address, id, given)
  local entry = assert(schema.addresses[address], "no such address: " .. address)
  local arguments = { id }
  for _, name in ipairs(entry.positional) do
    local value, problem = typed(entry.parameters[name], given[name])
    if problem then
      return nil, problem
    end
    arguments[#arguments + 1] = value
  end
  for _, number in ipairs(entry.rest and given[entry.rest] or {}) do
    arguments[#arguments + 1] = number
  end
  for _, name in ipairs(entry.named) do
    if given[name] ~= nil then
      local value, problem = typed(entry.parameters[name], given[name])
      if problem then
        return nil, problem
      end
      arguments[#arguments + 1] = name
      arguments[#arguments + 1] = value
    end
  end
  return arguments
end

--- Asks; the handlers are called from `poll`.
-- @param handlers { done = function(values), fail = function(code, text), event = function(verb, values) }, each may be missing;
--   values are by name
-- @return the request's id
function Session:request(address, given, handlers)
  local id = self:_next_id()
  local arguments, problem = Session.arguments(address, id, given)
  local request = { id = id, address = address, handlers = handlers or {}, entry = schema.addresses[address] }
  self.pending[id] = request
  if problem then
    request.refused = { "out_of_range", problem }
  elseif self.state == "ready" then
    self:_dispatch(request, arguments)
  elseif self.state == "connecting" then
    self.unsent[#self.unsent + 1] = { request, arguments }
  else
    request.refused = { "absent", Session.ABSENT }
  end
  return id
end

function Session:_dispatch(request, arguments)
  request.sent_at = self.now()
  self:_send(request.address, arguments)
end

--- Sends an address that is no request of the schema; nothing answers it.
function Session:tell(address, arguments)
  if self.state == "ready" then
    self:_send(address, arguments)
  elseif self.state == "connecting" then
    self.unsent[#self.unsent + 1] = { { address = address }, arguments }
  end
end

--- Cancels a request: its stream ends now, or as soon as it has a number. What was made so far comes with the answer.
function Session:cancel(id)
  local request = self.pending[id]
  if not request or request.cancelled then
    return
  end
  request.cancelled = true
  if request.stream then
    self:_send("/bridge/cancel", { self:_next_id(), request.stream })
  elseif not request.sent_at then
    request.refused = { "cancelled", "cancelled before it was sent" }
  end
end

--- Takes what has come, calls handlers, and notices silence. Call it from reaper.defer.
function Session:poll()
  if self.state == "absent" or self.state == "closed" then
    self:_refuse()
    return
  end
  for _, packet in ipairs(self.transport:poll()) do
    for _, message in ipairs(osc.decode(packet) or {}) do
      self.heard_at = self.now()
      self:_receive(message)
    end
  end
  self:_refuse()
  self:_watch()
end

function Session:_refuse()
  local refused = {}
  for _, request in pairs(self.pending) do
    if request.refused then
      refused[#refused + 1] = request
    end
  end
  for _, request in ipairs(refused) do
    self:_end(request, "fail", request.refused[1], request.refused[2])
  end
end

function Session:_watch()
  local now = self.now()
  if now - self.polled_at > PAUSE_SECONDS then
    self:_forgive(now - self.polled_at)
  end
  self.polled_at = now
  if self.state == "connecting" then
    if now - self.greeted_at > GREETING_SECONDS[self.transport.kind] then
      self:_try_next_way()
    end
    return
  end
  if next(self.pending) == nil then
    self.heard_at = now
    return
  end
  if now - self.heard_at > LOST_SECONDS then
    self.transport:withdraw()
    self.state = "absent"
    self:_fail_all("lost", Session.LOST)
  elseif now - self.heard_at > PING_SECONDS and now - self.pinged_at > PING_SECONDS then
    self.pinged_at = now
    self:_send("/bridge/ping", { self:_next_id() })
  end
  for _, request in pairs(self.pending) do
    if request.sent_at and not request.entry.opens_stream and now - request.sent_at > ANSWER_SECONDS then
      request.refused = { "timeout", ("The bridge has not answered %s."):format(request.address) }
    end
  end
end

-- Time that passed without a poll counts for nobody's silence.
function Session:_forgive(seconds)
  self.heard_at = self.heard_at + seconds
  self.greeted_at = self.greeted_at + seconds
  for _, request in pairs(self.pending) do
    request.sent_at = request.sent_at and request.sent_at + seconds
  end
end

function Session:_receive(message)
  local arguments = message.arguments
  if message.address == "/bridge/version.reply" then
    self:_ready(arguments)
  elseif message.address == "/done" or message.address == "/fail" then
    self:_answer(message.address, arguments)
  elseif message.address:sub(-5) == ".item" then
    self:_item(arguments)
  elseif schema.events[message.address] then
    self:_event(message.address, arguments)
  end
end

function Session:_ready(arguments)
  for index = 1, #arguments - 1, 2 do
    if arguments[index] == "protocol" and arguments[index + 1] ~= schema.protocol then
      self.state = "absent"
      self:_fail_all("protocol", ("This bridge speaks version %s of the protocol, these scripts version %s: update both."):format(
        tostring(arguments[index + 1]), tostring(schema.protocol)))
      return
    end
  end
  if self.state == "connecting" then
    self.state = "ready"
    for _, each in ipairs(self.unsent) do
      if not each[1].refused then
        self:_dispatch(each[1], each[2])
      end
    end
    self.unsent = {}
  end
end

local function named(names, arguments, from)
  local values = {}
  for index, name in ipairs(names) do
    values[name] = arguments[from + index - 1]
  end
  return values
end

function Session:_answer(kind, arguments)
  local request = self.pending[arguments[2]]
  if not request or request.address ~= arguments[1] then
    return
  elseif kind == "/fail" then
    self:_end(request, "fail", tostring(arguments[3]), tostring(arguments[4]))
  else
    local values = named(request.entry.answer, arguments, 3)
    values.items = request.items
    self:_end(request, "done", values)
  end
end

function Session:_item(arguments)
  local request = self.pending[arguments[1]]
  if request then
    local row = {}
    for index = 4, #arguments - 1, 2 do
      row[arguments[index]] = arguments[index + 1]
    end
    request.items = request.items or {}
    table.insert(request.items, row)
  end
end

function Session:_event(address, arguments)
  local values = named(schema.events[address], arguments, 1)
  local verb = address:match("^/bridge/(.*)$")
  local request
  if verb == "queued" then
    request = self.pending[values.request]
    if request then
      request.stream = values.stream
      self.streams[values.stream] = request
      if request.cancelled then
        self:_send("/bridge/cancel", { self:_next_id(), request.stream })
      end
    end
  else
    request = values.stream and self.streams[values.stream]
  end
  if request and request.handlers.event then
    request.handlers.event(verb, values)
  end
end

function Session:_end(request, how, ...)
  self.pending[request.id] = nil
  if request.stream then
    self.streams[request.stream] = nil
  end
  if request.handlers[how] then
    request.handlers[how](...)
  end
end

function Session:_fail_all(code, text)
  for _, request in pairs(self.pending) do
    request.refused = request.refused or { code, text }
  end
  self.unsent = {}
end

--- Ends the session. Streams that nobody waits for any more are cancelled; what they made is in the takes folder.
function Session:close()
  if self.transport then
    for _, request in pairs(self.pending) do
      if request.stream and not request.cancelled and self.state == "ready" then
        self:_send("/bridge/cancel", { 0, request.stream })
      end
    end
    if self.state == "ready" then
      self.transport:close()
    else
      self.transport:withdraw()
      self.transport:close()
    end
  end
  self.state = "closed"
end

return Session
