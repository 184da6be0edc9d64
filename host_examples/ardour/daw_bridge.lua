ardour {
  ["type"] = "EditorAction",
  name = "daw-bridge",
  license = "MIT",
  author = "daw-bridge",
  description = [[Generative music in the session.

A region is selected: daw-bridge goes on from it (of several, from the one that ends last),
and the new region begins on the sample on which that one ends.
A range is selected: daw-bridge makes music for it, on the selected track or on a new one.
Nothing is selected: daw-bridge makes music for the loop range, on a new track.

The bridge must run: daw-bridge up]],
}

function action_params()
  return {
    ["words"] = { title = "Words", default = "" },
    ["bars"] = { title = "Bars that follow a region", default = "4" },
    ["ask"] = { title = "Ask each time (yes or no)", default = "yes" },
    ["markers"] = { title = "Names of markers are words (yes or no)", default = "no" },
    ["exchange"] = { title = "Exchange folder (empty: the usual)", default = "" },
  }
end

-- Ardour keeps the compiled factory alone: all that the action needs stands inside of it.
function factory(params)
  return function()
    params = params or {}

    -- schema begin (written by `python -m host_tables`)
    local schema = {
      parameters = {
        ["/bridge/continue"] = {
          ["path"] = { kind = "str" },
          ["prompt"] = { kind = "str", default = "" },
          ["weights"] = { kind = "str", default = "" },
          ["blend"] = { kind = "str", default = "embedding" },
          ["bpm"] = { kind = "float", default = 0.0, minimum = 0, maximum = 300 },
          ["key"] = { kind = "str", default = "" },
          ["metre"] = { kind = "str", default = "" },
          ["temperature"] = { kind = "float", default = 1.0, minimum = 0, maximum = 4 },
          ["top_k"] = { kind = "int", default = 250, minimum = 0, maximum = 65536 },
          ["top_p"] = { kind = "float", default = 0.0, minimum = 0, maximum = 1 },
          ["guidance"] = { kind = "float", default = 3.0, minimum = 0, maximum = 20 },
          ["double_guidance"] = { kind = "float", default = 1.0, minimum = 0, maximum = 20 },
          ["stride"] = { kind = "float", default = 0.0, minimum = 0, maximum = 600 },
          ["decoder"] = { kind = "str", default = "" },
          ["steps"] = { kind = "str", default = "" },
          ["final_guidance"] = { kind = "float", default = 1.0, minimum = 0, maximum = 20 },
          ["spans"] = { kind = "str", default = "nonoverlap" },
          ["chords"] = { kind = "str", default = "" },
          ["drums"] = { kind = "str", default = "" },
          ["drums_start"] = { kind = "float", default = 0.0, minimum = 0, maximum = 1000000.0 },
          ["text_guidance"] = { kind = "float", default = 0.0, minimum = -20, maximum = 20 },
          ["style_path"] = { kind = "str", default = "" },
          ["style_start"] = { kind = "float", default = 0.0, minimum = 0, maximum = 1000000.0 },
          ["style_length"] = { kind = "float", default = 0.0, minimum = 0, maximum = 30 },
          ["style_detail"] = { kind = "int", default = 0, minimum = 0, maximum = 64 },
          ["seed"] = { kind = "int", default = -1, minimum = -1, maximum = 2147483647 },
          ["sections"] = { kind = "str", default = "" },
          ["template"] = { kind = "str", default = "" },
          ["style"] = { kind = "str", default = "" },
          ["sound"] = { kind = "bool", default = true },
          ["save"] = { kind = "bool", default = true },
          ["format"] = { kind = "str", default = "wav" },
          ["loudness"] = { kind = "str", default = "auto" },
          ["name"] = { kind = "str", default = "" },
          ["level"] = { kind = "float", default = 0.0, minimum = -120, maximum = 12 },
          ["at"] = { kind = "str", default = "now" },
          ["replaces"] = { kind = "int", default = 0, minimum = 0, maximum = 2147483647 },
          ["notes"] = { kind = "str", default = "" },
          ["start"] = { kind = "float", default = 0.0, minimum = 0, maximum = 1000000.0 },
          ["length"] = { kind = "float", default = 0.0, minimum = 0, maximum = 3600 },
          ["duration"] = { kind = "float", default = 15.0, minimum = 0.1, maximum = 3600 },
          ["seam"] = { kind = "bool", default = true },
        },
        ["/bridge/play"] = {
          ["prompt"] = { kind = "str", default = "" },
          ["weights"] = { kind = "str", default = "" },
          ["blend"] = { kind = "str", default = "embedding" },
          ["bpm"] = { kind = "float", default = 0.0, minimum = 0, maximum = 300 },
          ["key"] = { kind = "str", default = "" },
          ["metre"] = { kind = "str", default = "" },
          ["temperature"] = { kind = "float", default = 1.0, minimum = 0, maximum = 4 },
          ["top_k"] = { kind = "int", default = 250, minimum = 0, maximum = 65536 },
          ["top_p"] = { kind = "float", default = 0.0, minimum = 0, maximum = 1 },
          ["guidance"] = { kind = "float", default = 3.0, minimum = 0, maximum = 20 },
          ["double_guidance"] = { kind = "float", default = 1.0, minimum = 0, maximum = 20 },
          ["stride"] = { kind = "float", default = 0.0, minimum = 0, maximum = 600 },
          ["decoder"] = { kind = "str", default = "" },
          ["steps"] = { kind = "str", default = "" },
          ["final_guidance"] = { kind = "float", default = 1.0, minimum = 0, maximum = 20 },
          ["spans"] = { kind = "str", default = "nonoverlap" },
          ["chords"] = { kind = "str", default = "" },
          ["drums"] = { kind = "str", default = "" },
          ["drums_start"] = { kind = "float", default = 0.0, minimum = 0, maximum = 1000000.0 },
          ["text_guidance"] = { kind = "float", default = 0.0, minimum = -20, maximum = 20 },
          ["style_path"] = { kind = "str", default = "" },
          ["style_start"] = { kind = "float", default = 0.0, minimum = 0, maximum = 1000000.0 },
          ["style_length"] = { kind = "float", default = 0.0, minimum = 0, maximum = 30 },
          ["style_detail"] = { kind = "int", default = 0, minimum = 0, maximum = 64 },
          ["seed"] = { kind = "int", default = -1, minimum = -1, maximum = 2147483647 },
          ["sections"] = { kind = "str", default = "" },
          ["template"] = { kind = "str", default = "" },
          ["style"] = { kind = "str", default = "" },
          ["sound"] = { kind = "bool", default = true },
          ["save"] = { kind = "bool", default = true },
          ["format"] = { kind = "str", default = "wav" },
          ["loudness"] = { kind = "str", default = "auto" },
          ["name"] = { kind = "str", default = "" },
          ["level"] = { kind = "float", default = 0.0, minimum = -120, maximum = 12 },
          ["at"] = { kind = "str", default = "now" },
          ["replaces"] = { kind = "int", default = 0, minimum = 0, maximum = 2147483647 },
          ["notes"] = { kind = "str", default = "" },
          ["duration"] = { kind = "float", default = 15.0, minimum = 0.1, maximum = 3600 },
        },
      },
      finished = { "stream", "reason", "seconds", "seed", "path", "underruns", "first_sound_ms", "note" },
    }
    -- schema end

    local PATIENCE = 600 -- s; so long an answer is waited for
    local POLL_US = 50000
    local FIRST_ANSWER_S = 5 -- after which nobody is taken to listen

    -- OSC 1.0 ---------------------------------------------------------------------------------------------------------

    local function text_field(text)
      return text .. ("\0"):rep(4 - #text % 4)
    end

    local function encode(address, arguments)
      local tags, fields = ",", ""
      for _, value in ipairs(arguments) do
        if math.type(value) == "integer" then
          tags, fields = tags .. "i", fields .. string.pack(">i4", value)
        elseif math.type(value) == "float" then
          tags, fields = tags .. "f", fields .. string.pack(">f", value)
        else
          tags, fields = tags .. "s", fields .. text_field(value)
        end
      end
      return text_field(address) .. text_field(tags) .. fields
    end

    local function read_text(packet, position)
      local text = string.unpack("z", packet, position)
      return text, position + #text + 4 - #text % 4
    end

    -- The bridge sends i f s b.
    local function decode(packet)
      local address, position = read_text(packet, 1)
      local values, tags = {}
      tags, position = read_text(packet, position)
      for tag in tags:sub(2):gmatch(".") do
        local value
        if tag == "i" then
          value, position = string.unpack(">i4", packet, position)
        elseif tag == "f" then
          value, position = string.unpack(">f", packet, position)
        elseif tag == "s" then
          value, position = read_text(packet, position)
        else
          value = string.unpack(">s4", packet, position)
          position = position + 4 + #value + -#value % 4
        end
        values[#values + 1] = value
      end
      return address, values
    end

    -- The bridge's file queue: Ardour's Lua has no sockets that hear. -----------------------------------------------------

    local function exchange_folder()
      if params["exchange"] and params["exchange"] ~= "" then
        return params["exchange"]
      end
      local home = os.getenv("HOME") or ""
      if package and package.config and package.config:sub(1, 1) == "\\" or os.getenv("LOCALAPPDATA") then
        return os.getenv("LOCALAPPDATA") .. "\\daw-bridge\\daw-bridge\\exchange"
      elseif ARDOUR.LuaAPI.file_test(home .. "/Library/Application Support", ARDOUR.LuaAPI.FileTest.IsDir) then
        return home .. "/Library/Application Support/daw-bridge/exchange"
      end
      local state = os.getenv("XDG_STATE_HOME")
      return (state and state ~= "" and state or home .. "/.local/state") .. "/daw-bridge/exchange"
    end

    local function open_queue()
      local name = ("ardour%x%x"):format(os.time(), math.floor(ARDOUR.LuaAPI.monotonic_time() % 2 ^ 40))
      return { folder = exchange_folder() .. "/queue/", name = name:sub(1, 40), sent = 0, read = 0 }
    end

    local function send(queue, address, arguments)
      local path = ("%sin/%s-%d"):format(queue.folder, queue.name, queue.sent + 1)
      local file = io.open(path .. ".part", "wb")
      if not file then
        return nil, "The bridge does not run: there is no folder " .. queue.folder
      end
      file:write(string.pack(">s4", encode(address, arguments)))
      file:close()
      os.rename(path .. ".part", path .. ".osc")
      queue.sent, queue.last = queue.sent + 1, path .. ".osc"
      return true
    end

    -- The messages that have come, as { address, values }.
    local function receive(queue)
      local path = ("%sout/%s-%d.osc"):format(queue.folder, queue.name, queue.read + 1)
      local file = io.open(path, "rb")
      if not file then
        return {}
      end
      local bytes, found, position = file:read("a"), {}, 1
      file:close()
      os.remove(path)
      queue.read = queue.read + 1
      while position < #bytes do
        local packet
        packet, position = string.unpack(">s4", bytes, position)
        found[#found + 1] = table.pack(decode(packet))
      end
      return found
    end

    -- Asks, and waits until the stream is over. `tell(fraction, text)` returns true when the user wants to stop it.
    -- Returns the values of the answer by their names; or nil and what is wrong.
    local function ask(address, arguments, tell)
      local queue, stream, asked_to_stop = open_queue(), nil, false
      local fine, problem = send(queue, address, table.pack(1, table.unpack(arguments)))
      if not fine then
        return nil, problem
      end
      for poll = 1, PATIENCE * 1000000 // POLL_US do
        for _, message in ipairs(receive(queue)) do
          local at, values = message[1], message[2]
          if at == "/done" and values[1] == address then
            local answer = {}
            for index, name in ipairs(schema.finished) do
              answer[name] = values[index + 2]
            end
            return answer
          elseif at == "/fail" then
            return nil, values[4]
          elseif at == "/bridge/queued" then
            stream = values[2]
          elseif at == "/bridge/progress" and stream == values[1] then
            tell(values[2] / math.max(values[3], 0.001), "making music")
          end
        end
        if not stream and poll * POLL_US > FIRST_ANSWER_S * 1000000 and queue.read == 0 then
          os.remove(queue.last) -- nobody shall carry it out hours later
          return nil, "The bridge does not answer: daw-bridge up"
        end
        if tell(nil, nil) and stream and not asked_to_stop then
          asked_to_stop = true
          send(queue, "/bridge/cancel", { 2, stream })
        end
        ARDOUR.LuaAPI.usleep(POLL_US)
      end
      return nil, "The bridge has not answered for ten minutes."
    end

    -- Musical time --------------------------------------------------------------------------------------------------------

    -- The sample of the bar line that ends `bars` bars from `position` on; a bar that has begun counts.
    local function bar_line(position, bars)
      local map = Temporal.TempoMap.read()
      local here = map:bbt_at(position)
      return map:sample_at_beats(map:quarters_at_bbt(Temporal.BBT_TIME(here.bars + bars, 1, 0)))
    end

    -- Tempo and metre at a position, as the bridge counts beats: of quarters; of dotted quarters in 6/8, 9/8 and 12/8.
    local function tempo_at(position)
      local map = Temporal.TempoMap.read()
      local meter = map:meter_at(position)
      local upper, lower = meter:divisions_per_bar(), meter:note_value()
      local quarters = map:quarters_per_minute_at(position)
      local dotted = lower == 8 and upper > 3 and upper % 3 == 0
      return dotted and quarters / 1.5 or quarters * lower / 4, ("%d/%d"):format(upper, lower)
    end

    local function seconds(samples)
      return samples / Session:nominal_sample_rate()
    end

    -- Markers with a name of their own, as words that change while the music is made: "8 strings || 16.5 brass".
    local function sections(from, to)
      local found = {}
      for location in Session:locations():list():iter() do
        local at = location:start():samples()
        local named = location:is_mark() and not location:name():find("^mark%d*$") and not location:name():find("^xrun")
        if named and at > from and at < to then
          found[#found + 1] = { at, ("%.6g %s"):format(seconds(at - from), location:name()) }
        end
      end
      table.sort(found, function(one, other) return one[1] < other[1] end)
      for index, section in ipairs(found) do
        found[index] = section[2]
      end
      return table.concat(found, " || ")
    end

    -- What is selected --------------------------------------------------------------------------------------------------------

    local function track_of(region)
      for route in Session:get_tracks():iter() do
        local playlist = route:to_track():playlist()
        if not playlist:region_by_id(region:to_stateful():id()):isnil() then
          return route:to_track()
        end
      end
    end

    -- The region as a stretch of its file: nothing is copied.
    local function after_region(region, bars)
      local audio = region:to_audioregion()
      local track = track_of(region)
      if audio:isnil() or not track then
        return nil, "Select an audio region."
      end
      local file = audio:source(0):to_filesource()
      local position = region:position() + region:length()
      return {
        address = "/bridge/continue",
        first = file:path(),
        start = seconds(region:start():samples()),
        length = seconds(region:length():samples()),
        from = position:samples(),
        to = bar_line(position, bars),
        track = track,
      }
    end

    local function into_range(from, to, track)
      return { address = "/bridge/play", from = from, to = to, track = track }
    end

    local function selected(bars)
      local selection = Editor:get_selection()
      local last, ends = nil, -1
      for region in selection.regions:regionlist():iter() do
        local at = (region:position() + region:length()):samples()
        if at > ends then
          last, ends = region, at
        end
      end
      if last then
        return after_region(last, bars)
      end
      local from, to = selection.time:start_sample(), selection.time:end_sample()
      if to > from then
        for route in selection.tracks:routelist():iter() do
          if not route:to_track():isnil() and not route:to_track():to_audio_track():isnil() then
            return into_range(from, to, route:to_track())
          end
        end
        return into_range(from, to, nil)
      end
      local loop = Session:locations():auto_loop_location()
      if loop then
        return into_range(loop:start():samples(), loop:_end():samples(), nil)
      end
      return nil, "Select a region to go on from, or a range to fill."
    end

    -- The request and its result ----------------------------------------------------------------------------------------------

    local function request_of(job, wishes)
      local at = Temporal.timepos_t(job.from)
      local bpm, metre = tempo_at(at)
      local values = { duration = seconds(job.to - job.from), bpm = bpm, metre = metre, sound = 0, name = "ardour" }
      values.start, values.length = job.start, job.length
      if params["markers"] == "yes" then
        values.sections = sections(job.from, job.to)
      end
      for name, value in pairs(wishes) do
        values[name] = value
      end
      local arguments = { job.first or values.prompt }
      if not job.first then
        values.prompt = nil
      end
      for name, value in pairs(values) do
        local spec = schema.parameters[job.address][name]
        if spec then
          arguments[#arguments + 1] = name
          arguments[#arguments + 1] = spec.kind == "float" and value + 0.0 or spec.kind == "int" and math.floor(value) or value
        end
      end
      return arguments
    end

    local function region_ids()
      local found = {}
      for id, _ in pairs(ARDOUR.RegionFactory.regions():table()) do
        found[id:to_s()] = true
      end
      return found
    end

    -- Ardour's own import copies the file into the session, at the session's rate; it gives a region that is on no track yet.
    local function import(path)
      local known = region_ids()
      local files = C.StringVector()
      files:push_back(path)
      Editor:do_import(files, Editing.ImportDistinctFiles, Editing.ImportAsRegion, ARDOUR.SrcQuality.SrcBest,
        ARDOUR.MidiTrackNameSource.SMFTrackName, ARDOUR.MidiTempoMapDisposition.SMFTempoIgnore,
        Temporal.timepos_t(0), ARDOUR.PluginInfo(), ARDOUR.Track(), false)
      for id, region in pairs(ARDOUR.RegionFactory.regions():table()) do
        if not known[id:to_s()] then
          return region
        end
      end
    end

    local function new_track()
      local tracks = Session:new_audio_track(1, 2, nil, 1, "daw-bridge", ARDOUR.PresentationInfo.max_order,
        ARDOUR.TrackMode.Normal, true)
      return tracks:front()
    end

    -- One step to undo.
    local function place(job, path)
      local whole = import(path)
      if not whole then
        return nil, "Ardour did not import " .. path
      end
      local playlist = (job.track or new_track()):playlist()
      Session:begin_reversible_command("daw-bridge")
      playlist:to_stateful():clear_changes()
      local region = ARDOUR.RegionFactory.clone_region(whole, true, false)
      playlist:add_region(region, Temporal.timepos_t(job.from), 1, false)
      Session:add_stateful_diff_command(playlist:to_statefuldestructible())
      if not Session:abort_empty_reversible_command() then
        Session:commit_reversible_command(nil)
      end
      return true
    end

    -- The dialog ---------------------------------------------------------------------------------------------------------------

    local SHOWN = { "key", "style", "temperature", "guidance", "top_k", "seed" }

    local function row(name, spec)
      local title = name:gsub("_", " ")
      if spec.kind == "str" then
        return { type = "entry", key = name, title = title, default = spec.default }
      end
      local whole = spec.kind == "int"
      return {
        type = "number", key = name, title = title, min = spec.minimum, max = math.min(spec.maximum, 2 ^ 31 - 1),
        step = whole and 1 or 0.05, digits = whole and 0 or 2, default = spec.default,
      }
    end

    local function dialog()
      local rows = {
        { type = "entry", key = "prompt", title = "Words", default = params["words"] or "" },
        { type = "number", key = "bars", title = "Bars that follow a region", min = 1, max = 128, step = 1, digits = 0,
          default = tonumber(params["bars"]) or 4 },
      }
      for _, name in ipairs(SHOWN) do
        rows[#rows + 1] = row(name, schema.parameters["/bridge/play"][name])
      end
      return LuaDialog.Dialog("daw-bridge", rows):run()
    end

    local function say(text)
      print("daw-bridge: " .. text)
      if params["ask"] ~= "no" then
        LuaDialog.Message("daw-bridge", text, LuaDialog.MessageType.Warning, LuaDialog.ButtonType.Close):run()
      end
    end

    local function run()
      local wishes = { prompt = params["words"] or "", bars = tonumber(params["bars"]) or 4 }
      if params["ask"] ~= "no" then
        wishes = dialog()
        if not wishes then
          return
        end
      end
      local job, problem = selected(math.floor(wishes.bars))
      wishes.bars = nil
      if not job then
        return say(problem)
      end
      local window = LuaDialog.ProgressWindow("daw-bridge", true)
      local fraction = 0
      local answer, failed = ask(job.address, request_of(job, wishes), function(done)
        fraction = done or fraction
        window:progress(fraction, "daw-bridge")
        return window:canceled()
      end)
      window:done()
      if not answer then
        return say(failed)
      elseif answer.path == "" then
        return say("Nothing was made: " .. answer.reason)
      end
      local placed, why = place(job, answer.path)
      if not placed then
        return say(why)
      end
      print(("daw-bridge: %s, seed %d"):format(answer.path, answer.seed))
    end

    run()
  end
end
