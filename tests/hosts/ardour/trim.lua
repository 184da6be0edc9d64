ardour { ["type"] = "EditorAction", name = "test: trim" }

-- Trims the recording to whole bars.
function factory(params)
  return function()
    local map = Temporal.TempoMap.read()
    local function line(bar)
      return Temporal.timepos_t(map:sample_at_beats(map:quarters_at_bbt(Temporal.BBT_TIME(bar, 1, 0))))
    end
    for route in Session:get_tracks():iter() do
      for region in route:to_track():playlist():region_list():iter() do
        region:trim_front(line(tonumber(params["from"])))
        region:trim_end(line(tonumber(params["to"])))
        print(("test: trimmed %d to %d"):format(region:position():samples(), (region:position() + region:length()):samples()))
        return
      end
    end
  end
end
