ardour { ["type"] = "EditorAction", name = "test: log" }

-- What scripted actions print goes to a window; from here on it goes to a file, errors too.
function factory(params)
  return function()
    function print(...)
      local words = table.pack(...)
      for index = 1, words.n do
        words[index] = tostring(words[index])
      end
      local file = io.open(params["file"], "ab")
      file:write(table.concat(words, " "), "\n")
      file:close()
    end
    print("test: log")
  end
end
