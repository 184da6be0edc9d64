--- What each function of the stub does with the world. Types and counts are checked in stub.lua.

local World = require("world")

local function projects(world, f)
  function f.EnumProjects(index)
    if index == -1 then
      return world:project(0), ""
    end
    return world.projects[index + 1], ""
  end

  function f.GetSet_LoopTimeRange2(project, set, _, start, ends)
    local selection = world:project(project).selection
    if set then
      selection[1], selection[2] = start, ends
    end
    return selection[1], selection[2]
  end

  function f.GetCursorPositionEx(project)
    return world:project(project).cursor
  end

  function f.TimeMap2_timeToQN(project, time)
    return world:to_quarters(world:project(project), time)
  end

  function f.TimeMap2_QNToTime(project, quarter)
    return world:to_time(world:project(project), quarter)
  end

  function f.TimeMap_GetTimeSigAtTime(project, time)
    return world:metre(world:project(project), time)
  end

  function f.CountTempoTimeSigMarkers(project)
    return #world:project(project).tempo
  end

  function f.GetTempoTimeSigMarker(project, index)
    local marker = world:project(project).tempo[index + 1]
    if not marker then
      return false, 0, 0, 0, 0, 0, 0, false
    end
    return true, marker.time, 0, 0, marker.bpm, marker.numerator, marker.denominator, marker.gradual or false
  end

  function f.CountProjectMarkers(project)
    local markers = world:project(project).markers
    return #markers, #markers, 0
  end

  function f.EnumProjectMarkers3(project, index)
    local marker = world:project(project).markers[index + 1]
    if not marker then
      return 0, false, 0, 0, "", 0, 0
    end
    return index + 1, marker.ends ~= nil, marker.time, marker.ends or 0, marker.name, index + 1, 0
  end

  function f.GetProjExtState(project, section, key)
    local value = world:project(project).ext[section .. "/" .. key]
    return value and #value or 0, value or ""
  end

  function f.SetProjExtState(project, section, key, value)
    world:project(project).ext[section .. "/" .. key] = value ~= "" and value or nil
    return #value
  end

  function f.ValidatePtr2(_, value, kind)
    local known = false
    for _, each in ipairs(World.CONTEXTS) do
      known = known or each == kind
    end
    assert(known, "ValidatePtr2 does not know " .. kind)
    return rawget(value, "kind") .. "*" == kind and World.alive(value)
  end
end

local function tracks(world, f)
  function f.CountTracks(project)
    return #world:project(project).tracks
  end

  function f.GetTrack(project, index)
    return world:project(project).tracks[index + 1]
  end

  function f.GetTrackGUID(track)
    return track.guid
  end

  local function selected(project)
    local found = {}
    for _, track in ipairs(world:project(project).tracks) do
      found[#found + 1] = track.selected and track or nil
    end
    return found
  end

  function f.CountSelectedTracks(project)
    return #selected(project)
  end

  function f.GetSelectedTrack(project, index)
    return selected(project)[index + 1]
  end

  function f.InsertTrackAtIndex(index)
    local project = world:project(0)
    world:edit(project, "track")
    world:add_track(project, math.min(index, #project.tracks) + 1)
  end

  function f.GetMediaTrackInfo_Value(track, name)
    assert(name == "IP_TRACKNUMBER", "no such value: " .. name)
    for index, each in ipairs(track.project.tracks) do
      if each == track then
        return index + 0.0
      end
    end
  end

  function f.GetSetMediaTrackInfo_String(track, name, value, set)
    return world:text(track, name, value, set, World.TRACK_TEXTS, track.project)
  end

  function f.CountTrackMediaItems(track)
    return #track.items
  end

  function f.GetTrackMediaItem(track, index)
    return track.items[index + 1]
  end
end

local function items(world, f)
  function f.AddMediaItemToTrack(track)
    world:edit(track.project, "item")
    return world:add_item(track)
  end

  function f.CountMediaItems(project)
    return #world:items(world:project(project))
  end

  function f.GetMediaItem(project, index)
    return world:items(world:project(project))[index + 1]
  end

  local function selected(project)
    local found = {}
    for _, item in ipairs(world:items(world:project(project))) do
      found[#found + 1] = item.selected and item or nil
    end
    return found
  end

  function f.CountSelectedMediaItems(project)
    return #selected(project)
  end

  function f.GetSelectedMediaItem(project, index)
    return selected(project)[index + 1]
  end

  function f.SelectAllMediaItems(project, on)
    for _, item in ipairs(world:items(world:project(project))) do
      item.selected = on
    end
  end

  function f.SetMediaItemSelected(item, on)
    item.selected = on
  end

  function f.GetMediaItem_Track(item)
    return item.track
  end

  function f.GetItemProjectContext(item)
    return item.track.project
  end

  function f.GetMediaItemInfo_Value(item, name)
    return World.value_of(name, World.ITEM_VALUES, item)
  end

  function f.SetMediaItemInfo_Value(item, name, value)
    return world:set_value(name, World.ITEM_VALUES, item, value, item.track.project)
  end

  function f.GetSetMediaItemInfo_String(item, name, value, set)
    return world:text(item, name, value, set, World.ITEM_TEXTS, item.track.project)
  end
end

local function takes(world, f)
  function f.AddTakeToMediaItem(item)
    world:edit(item.track.project, "take")
    return world:add_take(item)
  end

  function f.GetActiveTake(item)
    return item.takes[item.active]
  end

  function f.SetActiveTake(take)
    for index, each in ipairs(take.item.takes) do
      if each == take then
        take.item.active = index
      end
    end
  end

  function f.GetTake(item, index)
    return item.takes[index + 1]
  end

  function f.GetMediaItemTake_Item(take)
    return take.item
  end

  function f.GetMediaItemTake_Source(take)
    return take.source or nil
  end

  function f.SetMediaItemTake_Source(take, source)
    world:edit(take.item.track.project, "source")
    take.source = source
    return true
  end

  function f.GetMediaItemTakeInfo_Value(take, name)
    return World.value_of(name, World.TAKE_VALUES, take)
  end

  function f.SetMediaItemTakeInfo_Value(take, name, value)
    return world:set_value(name, World.TAKE_VALUES, take, value, take.item.track.project)
  end

  function f.GetSetMediaItemTakeInfo_String(take, name, value, set)
    return world:text(take, name, value, set, World.TAKE_TEXTS, take.item.track.project)
  end

  function f.GetTakeNumStretchMarkers(take)
    return take.stretch_markers
  end

  function f.TakeIsMIDI(take)
    return take.notes ~= false
  end

  function f.MIDI_CountEvts(take)
    local count = take.notes and #take.notes or 0
    return count, count, 0, 0
  end

  function f.MIDI_GetNote(take, index)
    local note = take.notes and take.notes[index + 1]
    if not note then
      return false, false, false, 0, 0, 0, 0, 0
    end
    return true, false, note.muted or false, note.from * 960, note.to * 960, 0, note.pitch, note.velocity or 96
  end

  -- 960 ticks to the quarter, counted from where the item begins less its offset.
  function f.MIDI_GetProjQNFromPPQPos(take, ticks)
    local values = take.item.values
    return world:to_quarters(take.item.track.project, values.D_POSITION - take.values.D_STARTOFFS) + ticks / 960
  end
end

local function sources(world, f)
  function f.PCM_Source_CreateFromFile(path)
    local length, rate, channels = World.file_length(path)
    return length and world:add_source({ path = path, length = length, rate = rate, channels = channels }) or nil
  end

  function f.PCM_Source_Destroy(source)
    source.gone = true
  end

  function f.PCM_Source_GetSectionInfo(source)
    local section = source.section
    if not section then
      return false, 0, 0, false
    end
    return true, section.offset, section.length, section.reversed or false
  end

  function f.GetMediaSourceParent(source)
    return source.parent or nil
  end

  function f.GetMediaSourceFileName(source)
    return source.path
  end

  function f.GetMediaSourceLength(source)
    return source.quarters or source.length, source.quarters ~= false
  end
end

local function undo(world, f)
  function f.Undo_BeginBlock2(project)
    project = world:project(project)
    project.depth = project.depth + 1
  end

  function f.Undo_EndBlock2(project, text)
    project = world:project(project)
    assert(project.depth > 0, "an undo block ends that was not begun")
    project.depth = project.depth - 1
    if project.depth == 0 then
      table.insert(project.undo, text)
    end
  end

  function f.PreventUIRefresh(count)
    world.ui_refresh = world.ui_refresh + count
  end

  function f.UpdateArrange() end

  function f.Main_OnCommandEx(command)
    world.commands[#world.commands + 1] = command
  end

  function f.ColorToNative(red, green, blue)
    return red | green << 8 | blue << 16
  end
end

local function host(world, f)
  function f.GetExtState(section, key)
    return world.ext[section .. "/" .. key] or ""
  end

  function f.HasExtState(section, key)
    return world.ext[section .. "/" .. key] ~= nil
  end

  function f.SetExtState(section, key, value)
    world.ext[section .. "/" .. key] = value
  end

  function f.DeleteExtState(section, key)
    world.ext[section .. "/" .. key] = nil
  end

  function f.GetOS()
    return world.os
  end

  function f.GetResourcePath()
    return world.resource_path
  end

  function f.time_precise()
    return world.clock() + world.skipped
  end

  function f.APIExists(name)
    return world.has_function(name)
  end

  function f.ShowMessageBox(text)
    table.insert(world.boxes, text)
    return 1
  end

  function f.GetUserInputs(_, _, _, values)
    local answer = table.remove(world.answers, 1)
    return answer ~= nil, answer or values
  end

  function f.defer(act)
    table.insert(world.deferred, act)
    return true
  end

  function f.atexit(act)
    table.insert(world.at_exit, act)
    return true
  end

  function f.get_action_context()
    return true, world.action, 0, 65001, -1, -1, -1, ""
  end

  function f.SetToggleCommandState(_, command, state)
    world.toggles[command] = state
    return true
  end

  function f.RefreshToolbar2() end
end

-- A window that is drawn into lists: world.gfx.frame is the last whole one.
local function graphics(world)
  local state = { x = 0, y = 0, w = 0, h = 0, mouse_x = 0, mouse_y = 0, mouse_cap = 0 }
  local now, colour = {}, { 1, 1, 1 }
  local gfx = { state = state, frame = {}, keys = {}, open = false }

  local function add(shape)
    shape[#shape + 1] = colour
    now[#now + 1] = shape
  end

  function gfx.init(_, width, height)
    state.w, state.h, gfx.open = width, height, true
    return 1
  end

  function gfx.quit()
    gfx.open = false
    return 0
  end

  function gfx.setfont() return 0 end

  function gfx.set(red, green, blue)
    colour = { red, green, blue }
    return 0
  end

  function gfx.rect(x, y, width, height, filled)
    add({ "rect", x, y, width, height, filled == 1 })
    return 0
  end

  function gfx.measurestr(text)
    return 7.2 * utf8.len(text), 16
  end

  function gfx.drawstr(text, flags, right, bottom)
    add({ "text", state.x, state.y, text, flags or 0, right or 0, bottom or 0 })
    return 0
  end

  function gfx.getchar()
    if not gfx.open then
      return -1, 0
    end
    return table.remove(gfx.keys, 1) or 0, 0
  end

  function gfx.update()
    gfx.frame, now = now, {}
    return 0
  end

  world.gfx = gfx
end

--- Gives a world its functions.
return function(world)
  world.functions, world.extensions = {}, {}
  for _, part in ipairs({ projects, tracks, items, takes, sources, undo, host }) do
    part(world, world.functions)
  end
  graphics(world)
  return world
end
