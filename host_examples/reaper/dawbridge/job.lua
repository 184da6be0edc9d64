--- One thing that the musician asked for: one order or several, one after the other, and then a place in the project.

local kept = require("dawbridge.kept")
local melody = require("dawbridge.melody")
local order = require("dawbridge.order")
local place = require("dawbridge.place")

local Job = {}
Job.__index = Job

local LONGEST_NAME = 60

--- Begins to ask for the orders.
-- @param session an open Session
-- @param orders list, asked for one after the other
-- @param plan see place.lua
-- @param title of the undo step, such as "daw-bridge: generate"
function Job.start(session, orders, plan, title)
  local self = setmetatable({
    session = session,
    orders = orders,
    plan = plan,
    title = title,
    results = {},
    done_seconds = 0,
    state = "running", -- then placing, done, failed or cancelled
    message = "Waiting for the bridge …",
  }, Job)
  self:_next()
  return self
end

--- How far it is, 0 to 1.
function Job:progress()
  if self.state ~= "running" and self.state ~= "placing" then
    return 1
  end
  local part = self.total_seconds and self.total_seconds > 0 and self.made_seconds / self.total_seconds or 0
  return math.min(1, (#self.results + part) / #self.orders)
end

--- Whether nothing more will happen.
function Job:over()
  return self.state ~= "running" and self.state ~= "placing"
end

function Job:cancel()
  if self.state == "running" then
    self.cancelled = true
    self.message = "Cancelling …"
    if self.request then
      self.session:cancel(self.request)
    end
  end
end

--- To be called with every poll: places results as soon as their project is in front.
function Job:tick()
  if self.state ~= "placing" then
    return
  end
  local project = place.project_state(self.plan)
  if project == "closed" then
    self:_keep("The project was closed.")
  elseif project == "behind" then
    self.message = "Ready: it is placed when you come back to its project's tab."
  else
    self:_place()
  end
end

--- Gives up what is not placed yet, and keeps what is there. For the end of the script.
function Job:abandon()
  if #self.results > 0 and not self:over() then
    self:_keep("The script ended.")
  end
end

function Job:_next()
  local one = self.orders[#self.results + 1]
  if not one or self.cancelled then
    self:_finish()
  elseif one.notes then
    self:_send_notes(one)
  else
    self:_ask(one)
  end
end

function Job:_finish()
  if #self.results > 0 then
    self.state = "placing"
  else
    self.state = "cancelled"
    self.message = self.cut_path and ("Cancelled. What was made is in " .. self.cut_path) or "Cancelled."
  end
end

function Job:_fail(code, text)
  self.request = nil
  if code == "cancelled" or self.cancelled and code ~= "lost" then
    self:_finish()
    return
  end
  local hint = code == "not_allowed" and "\nThe bridge's settings name the folders that it may read: files.allowed." or ""
  self.error_code = code
  if #self.results > 0 then -- of several: those that are there are placed
    self.failure = text .. hint
    self.state = "placing"
  else
    self.state = "failed"
    self.message = text .. hint
  end
end

-- Begin, then the pages, then the request itself, each when the one before has been answered: nothing relies on the order of packets.
function Job:_send_notes(one)
  local name = "reaper"
  local function failed(code, text)
    self:_fail(code, text)
  end
  local pages = melody.pages(one.notes.values)
  local index = 0
  local function next_page()
    index = index + 1
    local page = pages[index]
    if self.cancelled then
      self:_finish()
    elseif page then
      local given = { name = name, index = page.index, values = page.values }
      self.request = self.session:request("/bridge/notes/add", given, { done = next_page, fail = failed })
    else
      one.values.notes = name
      self:_ask(one)
    end
  end
  local given = { name = name, count = one.notes.count, length = one.notes.beats, bpm = one.values.bpm }
  self.request = self.session:request("/bridge/notes/begin", given, { done = next_page, fail = failed })
end

function Job:_ask(one)
  self.made_seconds, self.total_seconds = 0, nil
  self.request = self.session:request(one.address, one.values, {
    event = function(verb, values) self:_heard(verb, values) end,
    fail = function(code, text) self:_fail(code, text) end,
    done = function(values) self:_done(one, values) end,
  })
end

function Job:_heard(verb, values)
  if self.cancelled then
    return
  elseif verb == "queued" then
    self.words = values.words
    self.message = "The music is being made …"
  elseif verb == "progress" then
    self.made_seconds, self.total_seconds = values.seconds, values.total_seconds
    local which = #self.orders > 1 and (" (%d of %d)"):format(#self.results + 1, #self.orders) or ""
    self.message = ("%.1f of %.1f s%s"):format(values.seconds, values.total_seconds, which)
  elseif verb == "held" and values.state == "holding" then
    self.message = values.reason == "engine_lost" and "The engine is started again …" or "The engine is too slow for the moment …"
  end
end

local function take_name(one, values)
  local words = one.values.prompt or ""
  if words == "" then
    words = one.address:match("[^/]+$")
  end
  if utf8.len(words) and utf8.len(words) > LONGEST_NAME then
    words = words:sub(1, utf8.offset(words, LONGEST_NAME) - 1) .. "…"
  end
  return ("%s [%d]"):format(words, values.seed)
end

function Job:_done(one, values)
  self.request = nil
  if values.reason ~= "done" then
    self.cut_path = values.path ~= "" and values.path or nil
    if values.reason == "cancelled" then
      self.cancelled = true
      self:_finish()
    else
      self:_fail(values.reason, ("The stream ended early (%s). %s"):format(values.reason, values.note))
    end
    return
  elseif values.path == "" then
    self:_fail("failed", "The bridge wrote no file.")
    return
  end
  self.note = values.note
  table.insert(self.results, {
    path = values.path,
    seconds = values.seconds,
    seed = values.seed,
    name = take_name(one, values),
    order_text = order.text(order.with_seed(one, values.seed)),
  })
  self:_next()
end

function Job:_place()
  local item, problem = place.results(self.plan, self.results, self.title)
  if not item then
    self:_keep(problem)
    return
  end
  self.item = item
  self.state = self.failure and "failed" or "done"
  self.message = self.failure or (self.note ~= "" and self.note) or "Done."
end

function Job:_keep(problem)
  kept.add(self.results)
  self.state = "failed"
  self.error_code = "kept"
  self.message = problem .. " The result is kept: “Place kept results” puts it at the edit cursor."
end

return Job
