--- Writes tables as JSON: lists where all keys are 1 to n, else objects.

local json = {}

local function text(value)
  return '"' .. value:gsub('[%c"\\]', function(letter) return ("\\u%04x"):format(letter:byte()) end) .. '"'
end

function json.encode(value)
  local kind = type(value)
  if kind == "string" then
    return text(value)
  elseif kind ~= "table" then
    return value == math.huge and "1e999" or tostring(value)
  end
  local parts = {}
  if #value > 0 or next(value) == nil then
    for index, each in ipairs(value) do
      parts[index] = json.encode(each)
    end
    return "[" .. table.concat(parts, ",") .. "]"
  end
  for key, each in pairs(value) do
    parts[#parts + 1] = text(tostring(key)) .. ":" .. json.encode(each)
  end
  return "{" .. table.concat(parts, ",") .. "}"
end

return json
