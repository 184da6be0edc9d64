--- What is asked of the bridge, as a table and as one line of text that a take remembers, so that it can be asked again.
--
-- An order is { address, values = parameters by name, notes = nil or { values, count, beats } }.

local schema = require("dawbridge.schema")
local settings = require("dawbridge.settings")

local order = {}

local function escaped(text)
  return (text:gsub("[^%w%-%._~ ]", function(letter) return ("%%%02X"):format(letter:byte()) end))
end

local function unescaped(text)
  return (text:gsub("%%(%x%x)", function(code) return string.char(tonumber(code, 16)) end))
end

-- 17 digits bring back the very same number.
local function written(value)
  if type(value) == "boolean" then
    return value and "1" or "0"
  end
  return math.type(value) == "float" and ("%.17g"):format(value) or tostring(value)
end

--- Any flat table of texts and numbers as one line.
function order.pack(fields)
  local names, parts = {}, {}
  for name in pairs(fields) do
    names[#names + 1] = name
  end
  table.sort(names)
  for index, name in ipairs(names) do
    parts[index] = escaped(name) .. "=" .. escaped(written(fields[name]))
  end
  return table.concat(parts, "&")
end

--- The table of such a line; all values are texts.
function order.unpack(line)
  local fields = {}
  for name, value in line:gmatch("([^&=]+)=([^&]*)") do
    fields[unescaped(name)] = unescaped(value)
  end
  return fields
end

--- An order with what is set for every request.
-- @param chosen settings by name
function order.new(address, chosen)
  local values = { sound = chosen.sound, save = true }
  for _, name in ipairs(settings.SENT) do
    values[name] = chosen[name]
  end
  return { address = address, values = values }
end

--- The line that a take remembers.
function order.text(one)
  local fields = { address = one.address }
  for name, value in pairs(one.values) do
    fields["." .. name] = value
  end
  if one.notes then
    local numbers = {}
    for index, value in ipairs(one.notes.values) do
      numbers[index] = written(value)
    end
    fields.notes = table.concat(numbers, " ")
    fields.beats = one.notes.beats
  end
  return order.pack(fields)
end

--- The order of such a line; nil when this release knows no such request.
function order.parse(line)
  local fields = order.unpack(line)
  local entry = schema.addresses[fields.address]
  if not entry then
    return nil
  end
  local one = { address = fields.address, values = {} }
  for name, text in pairs(fields) do
    local spec = entry.parameters[name:match("^%.(.*)$")]
    if spec then
      one.values[spec.name] = spec.kind == "str" and text or spec.kind == "bool" and text == "1" or tonumber(text)
    end
  end
  if fields.notes then
    local numbers = {}
    for number in fields.notes:gmatch("%S+") do
      numbers[#numbers + 1] = tonumber(number)
    end
    one.notes = { values = numbers, count = #numbers // 4, beats = tonumber(fields.beats) }
  end
  return one
end

--- The same order with another seed.
function order.with_seed(one, seed)
  local values = {}
  for name, value in pairs(one.values) do
    values[name] = value
  end
  values.seed = seed
  return { address = one.address, values = values, notes = one.notes }
end

return order
