-- What luacheck lets the scripts use of Reaper's API: the functions that the tests' strict stub knows (tests/hosts/reaper/api.lua).
std = "lua53"
max_line_length = 150
self = false -- methods of one shape, such as a transport's close
files["dawbridge/schema.lua"] = { max_line_length = false }
read_globals = {
  reaper = {
    fields = {
      "APIExists", "AddMediaItemToTrack", "AddTakeToMediaItem", "CF_GetClipboard", "ColorToNative", "CountMediaItems",
      "CountProjectMarkers", "CountSelectedMediaItems", "CountSelectedTracks", "CountTempoTimeSigMarkers",
      "CountTrackMediaItems", "CountTracks", "CreateTakeAudioAccessor", "DeleteExtState", "DestroyAudioAccessor",
      "EnumProjectMarkers3", "EnumProjects", "GetActiveTake", "GetAudioAccessorSamples", "GetAudioAccessorStartTime",
      "GetCursorPositionEx", "GetExtState", "GetItemProjectContext", "GetMediaItem", "GetMediaItemInfo_Value",
      "GetMediaItemTakeInfo_Value", "GetMediaItemTake_Item", "GetMediaItemTake_Source", "GetMediaItem_Track",
      "GetMediaSourceFileName", "GetMediaSourceLength", "GetMediaSourceNumChannels", "GetMediaSourceParent",
      "GetMediaSourceSampleRate", "GetMediaTrackInfo_Value", "GetOS", "GetProjExtState", "GetResourcePath",
      "GetSelectedMediaItem", "GetSelectedTrack", "GetSetMediaItemInfo_String", "GetSetMediaItemTakeInfo_String",
      "GetSetMediaTrackInfo_String", "GetSet_LoopTimeRange2", "GetTake", "GetTakeNumStretchMarkers", "GetTempoTimeSigMarker",
      "GetTrack", "GetTrackGUID", "GetTrackMediaItem", "GetUserInputs", "HasExtState", "ImGui_GetBuiltinPath",
      "InsertTrackAtIndex", "MIDI_CountEvts", "MIDI_GetNote", "MIDI_GetProjQNFromPPQPos", "Main_OnCommandEx",
      "PCM_Source_CreateFromFile", "PCM_Source_Destroy", "PCM_Source_GetSectionInfo", "PreventUIRefresh", "RefreshToolbar2",
      "SelectAllMediaItems", "SetActiveTake", "SetExtState", "SetMediaItemInfo_Value", "SetMediaItemSelected",
      "SetMediaItemTakeInfo_Value", "SetMediaItemTake_Source", "SetProjExtState", "SetToggleCommandState", "ShowMessageBox",
      "TakeIsMIDI", "TimeMap2_QNToTime", "TimeMap2_beatsToTime", "TimeMap2_timeToBeats", "TimeMap2_timeToQN",
      "TimeMap_GetTimeSigAtTime", "Undo_BeginBlock", "Undo_BeginBlock2", "Undo_EndBlock", "Undo_EndBlock2", "UpdateArrange",
      "ValidatePtr2", "atexit", "defer", "get_action_context", "new_array", "time_precise",
    },
  },
  gfx = {
    fields = {
      "drawstr", "getchar", "h", "init", "measurestr", "mouse_cap", "mouse_x", "mouse_y", "quit", "rect", "set", "setfont", "update", "w",
      x = { read_only = false },
      y = { read_only = false },
    },
  },
}
