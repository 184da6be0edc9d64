--- A line of text that is typed into a gfx window, as gfx.getchar tells keys.

local TextField = {}
TextField.__index = TextField

local BACKSPACE, PASTE = 8, 22
local KEYS = { left = 1818584692, right = 1919379572, home = 1752132965, ends = 6647396, delete = 6579564 }
local UNICODE = ("u"):byte() << 24
local LONGEST = 2000 -- characters

function TextField.new()
  return setmetatable({ text = "", caret = 0 }, TextField)
end

--- Begins to edit a text, at its end.
function TextField:take(text)
  self.text = utf8.len(text) and text or ""
  self.caret = utf8.len(self.text)
end

-- The bytes before and after a place between characters.
function TextField:_split(place)
  local byte = utf8.offset(self.text, place + 1)
  return self.text:sub(1, byte - 1), self.text:sub(byte)
end

--- The text with a line where the next character goes.
function TextField:shown()
  local before, after = self:_split(self.caret)
  return before .. "|" .. after
end

function TextField:insert(characters)
  local clean = characters:gsub("%c", " ")
  if not utf8.len(clean) or utf8.len(self.text) + utf8.len(clean) > LONGEST then
    return
  end
  local before, after = self:_split(self.caret)
  self.text = before .. clean .. after
  self.caret = self.caret + utf8.len(clean)
end

local function erase(self, from, to)
  if from >= 0 and to <= utf8.len(self.text) then
    local before = self:_split(from)
    local _, after = self:_split(to)
    self.text, self.caret = before .. after, from
  end
end

--- Takes one key of gfx.getchar.
function TextField:key(char)
  if char == BACKSPACE then
    erase(self, self.caret - 1, self.caret)
  elseif char == KEYS.delete then
    erase(self, self.caret, self.caret + 1)
  elseif char == KEYS.left then
    self.caret = math.max(0, self.caret - 1)
  elseif char == KEYS.right then
    self.caret = math.min(utf8.len(self.text), self.caret + 1)
  elseif char == KEYS.home then
    self.caret = 0
  elseif char == KEYS.ends then
    self.caret = utf8.len(self.text)
  elseif char == PASTE and reaper.APIExists("CF_GetClipboard") then -- with the SWS extension
    self:insert(reaper.CF_GetClipboard(""))
  elseif char >= 32 and char < 256 and char ~= 127 then
    self:insert(utf8.char(math.floor(char)))
  elseif char >= UNICODE and char < UNICODE + 0x110000 then
    self:insert(utf8.char(math.floor(char) - UNICODE))
  end
end

return TextField
