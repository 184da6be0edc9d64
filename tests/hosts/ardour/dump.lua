-- Writes scripted actions as Ardour keeps them: ardour7-lua dump.lua, with the paths and arguments in the environment.
-- ACTIONS is a Lua list of { name, file, { argument = "text" } }; what is kept goes to the file OUT.

local function quoted(value)
  if type(value) == "table" then
    local fields = {}
    for name, field in pairs(value) do
      fields[#fields + 1] = ("[%q] = %q"):format(name, field)
    end
    return "{ " .. table.concat(fields, ", ") .. " }"
  end
  return ("%q"):format(value)
end

function ardour() end

local lines = { "scripts = {}" }
for number, action in ipairs(load("return " .. os.getenv("ACTIONS"))()) do
  local name, path, arguments = table.unpack(action)
  local file = assert(io.open(path))
  local source = file:read("a")
  file:close()
  factory = nil
  assert(load(source, path))()
  lines[#lines + 1] = ("scripts[%d] = { n = %s, s = %s, f = %s, a = %s }"):format(
    number, quoted(name), quoted(source), quoted(string.dump(factory, true)), quoted(arguments))
end
local out = assert(io.open(os.getenv("OUT"), "wb"))
out:write(table.concat(lines, " "))
out:close()
quit()
