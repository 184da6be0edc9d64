--- The notes of a MIDI item as the bridge takes them: pitch, start and length in beats, velocity.

local melody = {}

melody.MOST = 2048 -- notes of a list
melody.NOTES_A_PAGE = 30 -- 4 values each: a page stays below 1.4 kB

--- The notes that sound inside an item, muted ones left out.
-- @param quarters quarters in a beat of the bridge, see project.metre
-- @return { values = { pitch, start, length, velocity, … }, count, beats = length of the item }, or nil and why not
function melody.of(item, quarters)
  local take = reaper.GetActiveTake(item)
  if not take or not reaper.TakeIsMIDI(take) then
    return nil, "Select a MIDI item first."
  end
  local project = reaper.GetItemProjectContext(item)
  local position = reaper.GetMediaItemInfo_Value(item, "D_POSITION")
  local length = reaper.GetMediaItemInfo_Value(item, "D_LENGTH")
  local first = reaper.TimeMap2_timeToQN(project, position)
  local last = reaper.TimeMap2_timeToQN(project, position + length)
  local values, count = {}, 0
  local _, notes = reaper.MIDI_CountEvts(take)
  for index = 0, notes - 1 do
    local found, _, muted, starts, ends, _, pitch, velocity = reaper.MIDI_GetNote(take, index)
    local from = math.max(reaper.MIDI_GetProjQNFromPPQPos(take, starts), first)
    local to = math.min(reaper.MIDI_GetProjQNFromPPQPos(take, ends), last)
    if found and not muted and to > from then
      count = count + 1
      if count > melody.MOST then
        return nil, ("The item has more than %d notes. Split it first."):format(melody.MOST)
      end
      table.move({ pitch, (from - first) / quarters, (to - from) / quarters, velocity }, 1, 4, #values + 1, values)
    end
  end
  if count == 0 then
    return nil, "The MIDI item has no notes that sound."
  end
  return { values = values, count = count, beats = (last - first) / quarters }
end

--- The pages in which notes are sent: lists of { index = of the first note, values }.
function melody.pages(values)
  local pages, each = {}, melody.NOTES_A_PAGE * 4
  for from = 1, #values, each do
    pages[#pages + 1] = { index = (from - 1) // 4, values = table.move(values, from, math.min(from + each - 1, #values), 1, {}) }
  end
  return pages
end

return melody
