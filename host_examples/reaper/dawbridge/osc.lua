--- OSC 1.0 in plain Lua: packets as strings, messages as tables. No host is needed.
--
-- A message is { address = "/x", arguments = { … }, n = how many }. Texts are strings, whole numbers Lua integers, other numbers
-- Lua floats; a blob is { blob = "bytes" }.

local osc = {}

osc.LARGEST = 8192 -- bytes of a packet that the bridge reads
local DEEPEST = 4
local INT32 = 2 ^ 31

local function text_field(text)
  return text .. ("\0"):rep(4 - #text % 4)
end

local function blob_field(bytes)
  return string.pack(">s4", bytes) .. ("\0"):rep(-#bytes % 4)
end

-- A number that 32 bits hold exactly goes as "f", any other as "d": positions in long files must not be rounded.
local function float_field(value)
  local short = string.pack(">f", value)
  if string.unpack(">f", short) == value then
    return "f", short
  end
  return "d", string.pack(">d", value)
end

local function field(value)
  local kind = math.type(value) or type(value)
  if kind == "integer" then
    if value >= -INT32 and value < INT32 then
      return "i", string.pack(">i4", value)
    end
    return "h", string.pack(">i8", value)
  elseif kind == "float" then
    return float_field(value)
  elseif kind == "string" then
    assert(not value:find("\0", 1, true), "an OSC text holds no zero byte")
    return "s", text_field(value)
  elseif kind == "boolean" then -- 1 or 0: the types that every OSC program reads
    return "i", string.pack(">i4", value and 1 or 0)
  elseif kind == "table" and type(value.blob) == "string" then
    return "b", blob_field(value.blob)
  end
  error("OSC has no form for a " .. kind, 3)
end

--- One message as a packet.
-- @param address such as "/bridge/play"
-- @param arguments list of integers, floats, texts, truth values and { blob = … }
function osc.encode(address, arguments)
  assert(type(address) == "string" and address:sub(1, 1) == "/", "an OSC address begins with /")
  local tags, fields = { "," }, {}
  for index, value in ipairs(arguments or {}) do
    tags[index + 1], fields[index] = field(value)
  end
  return text_field(address) .. text_field(table.concat(tags)) .. table.concat(fields)
end

local function read_text(packet, position)
  local ends = packet:find("\0", position, true)
  assert(ends, "a text without an end")
  local after = position + ((ends - position) // 4 + 1) * 4
  assert(after <= #packet + 1, "a text is cut off")
  return packet:sub(position, ends - 1), after
end

local read = {
  i = function(packet, position) return string.unpack(">i4", packet, position) end,
  h = function(packet, position) return string.unpack(">i8", packet, position) end,
  f = function(packet, position) return string.unpack(">f", packet, position) end,
  d = function(packet, position) return string.unpack(">d", packet, position) end,
  s = read_text,
  b = function(packet, position)
    local bytes, after = string.unpack(">s4", packet, position)
    after = after + -#bytes % 4
    assert(after <= #packet + 1, "a blob is cut off")
    return { blob = bytes }, after
  end,
  T = function(_, position) return true, position end,
  F = function(_, position) return false, position end,
}

local function read_message(packet, into)
  local address, position = read_text(packet, 1)
  assert(address:sub(1, 1) == "/", "no address")
  local tags = ","
  if position <= #packet then
    tags, position = read_text(packet, position)
  end
  assert(tags:sub(1, 1) == ",", "no type tags")
  local message = { address = address, arguments = {}, n = #tags - 1 }
  for index = 1, message.n do
    local tag = tags:sub(index + 1, index + 1)
    assert(read[tag], "a type that is not read")
    message.arguments[index], position = read[tag](packet, position)
  end
  into[#into + 1] = message
end

local function read_packet(packet, into, depth)
  if packet:sub(1, 8) ~= "#bundle\0" then
    return read_message(packet, into)
  end
  assert(depth < DEEPEST, "bundles nested too deep")
  local position = 17 -- after the time tag: what is read here is for now
  while position <= #packet do
    local element
    element, position = string.unpack(">s4", packet, position)
    read_packet(element, into, depth + 1)
  end
end

--- The messages of a packet, or nil and what is wrong with it. Never raises.
function osc.decode(packet)
  local messages = {}
  local fine, problem = pcall(read_packet, packet, messages, 0)
  if fine then
    return messages
  end
  return nil, tostring(problem)
end

--- A packet with its length before it, as OSC 1.0 has it in streams and the bridge in files.
function osc.frame(packet)
  return string.pack(">s4", packet)
end

--- The packets of such a text, in order; what is cut off at its end is left out.
function osc.unframe(bytes)
  local packets, position = {}, 1
  while position + 3 <= #bytes do
    local size = string.unpack(">I4", bytes, position)
    if position + 3 + size > #bytes then
      break
    end
    packets[#packets + 1] = bytes:sub(position + 4, position + 3 + size)
    position = position + 4 + size
  end
  return packets
end

return osc
