--- How long a WAV file is, read from its chunks; nil when it is none.

local wave = {}

--- Seconds, rate and channels of a file.
function wave.length(path)
  local file = io.open(path, "rb")
  local bytes = file and file:read("a")
  if not file or not bytes or bytes:sub(1, 4) ~= "RIFF" or bytes:sub(9, 12) ~= "WAVE" then
    return nil
  end
  file:close()
  local position, rate, channels, frame = 13, nil, nil, nil
  while position + 8 <= #bytes do
    local name, size = bytes:sub(position, position + 3), string.unpack("<I4", bytes, position + 4)
    if name == "fmt " then
      channels, rate = string.unpack("<I2I4", bytes, position + 10)
      frame = string.unpack("<I2", bytes, position + 20)
    elseif name == "data" then
      return math.min(size, #bytes - position - 7) / frame / rate, rate, channels
    end
    position = position + 8 + size + size % 2
  end
end

return wave
