ardour { ["type"] = "EditorAction", name = "test: import" }

-- A session as a musician has it: a tempo and a metre, a marker, a recording on a track of its own that begins on a bar line.
function factory(params)
  return function()
    local rate = Session:nominal_sample_rate()
    local map = Temporal.TempoMap.fetch_writable()
    map:set_tempo(Temporal.Tempo(tonumber(params["bpm"]), tonumber(params["bpm"]), 4), Temporal.timepos_t(0))
    map:set_meter(Temporal.Meter(tonumber(params["upper"]), 4), Temporal.timepos_t(0))
    Temporal.TempoMap.update(map)
    map = Temporal.TempoMap.read()
    local line = map:sample_at_beats(map:quarters_at_bbt(Temporal.BBT_TIME(2, 1, 0)))
    local files = C.StringVector()
    files:push_back(params["file"])
    Editor:do_import(files, Editing.ImportDistinctFiles, Editing.ImportAsTrack, ARDOUR.SrcQuality.SrcBest,
      ARDOUR.MidiTrackNameSource.SMFTrackName, ARDOUR.MidiTempoMapDisposition.SMFTempoIgnore,
      Temporal.timepos_t(line), ARDOUR.PluginInfo(), ARDOUR.Track(), false)
    print("test: imported at rate " .. rate)
  end
end
