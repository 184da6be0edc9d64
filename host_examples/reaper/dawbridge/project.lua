--- What the project says: its tempo and metre, the time selection, markers and regions.

local project = {}

local SAME_SECONDS = 0.001
local MOST_SECTIONS = 64

--- Seconds of the time selection: start and end; nil when there is none.
function project.selection(proj)
  local start, ends = reaper.GetSet_LoopTimeRange2(proj, false, false, 0, 0, false)
  if ends - start > SAME_SECONDS then
    return start, ends
  end
  return nil
end

local function quarters_per_minute(proj, time)
  local quarter = reaper.TimeMap2_timeToQN(proj, time)
  local length = reaper.TimeMap2_QNToTime(proj, quarter + 1) - reaper.TimeMap2_QNToTime(proj, quarter)
  return 60 / length
end

local function rounded(value)
  return math.floor(value * 1e6 + 0.5) / 1e6
end

--- Tempo and metre at a time of the project, as the bridge counts them: the beat of 6/8, 9/8 and 12/8 is the dotted quarter, of any
-- other metre the quarter.
-- @return { bpm, quarters = quarters in a beat, beats_per_bar = whole number or nil, text = such as "6/8", denominator }
function project.metre(proj, time)
  local numerator, denominator = reaper.TimeMap_GetTimeSigAtTime(proj, time)
  local quarters = 1
  if denominator == 8 and numerator > 3 and numerator % 3 == 0 then
    quarters = 1.5
  end
  local beats = numerator * 4 / denominator / quarters
  return {
    bpm = rounded(quarters_per_minute(proj, time) / quarters),
    quarters = quarters,
    beats_per_bar = beats == math.floor(beats) and math.floor(beats) or nil,
    text = ("%d/%d"):format(numerator, denominator),
    denominator = denominator,
  }
end

--- Whether the tempo changes between two times.
function project.tempo_changes(proj, start, ends)
  for index = 0, reaper.CountTempoTimeSigMarkers(proj) - 1 do
    local found, time, _, _, _, _, _, gradual = reaper.GetTempoTimeSigMarker(proj, index)
    if found and time > start + SAME_SECONDS and time < ends - SAME_SECONDS then
      return true
    elseif found and gradual and time < ends then -- a ramp that may reach in
      local before = project.metre(proj, start).bpm
      if math.abs(before - project.metre(proj, ends).bpm) > 0.01 then
        return true
      end
    end
  end
  return false
end

-- Words of a marker beside the prompt: "= words" stands alone, as any name does beside several prompts; else it is added.
local function words_of(name, prompt)
  local clean = name:gsub("||", " "):match("^%s*(.-)%s*$")
  local alone = clean:match("^=%s*(.+)$")
  if alone or prompt == "" or prompt:find("||", 1, true) then
    return alone or clean
  end
  return prompt .. ", " .. clean
end

--- Named markers, and named regions that begin, inside these seconds.
-- @return list of { seconds = after `start`, name }, in order, 64 at most
function project.marks(proj, start, ends)
  local marks = {}
  for index = 0, reaper.CountProjectMarkers(proj) - 1 do
    local found, _, position, _, name = reaper.EnumProjectMarkers3(proj, index)
    if found > 0 and name:find("[^%s|]") and position >= start - SAME_SECONDS and position < ends - SAME_SECONDS then
      marks[#marks + 1] = { seconds = math.max(0, position - start), name = name }
    end
  end
  table.sort(marks, function(one, other) return one.seconds < other.seconds end)
  return table.move(marks, 1, math.min(#marks, MOST_SECTIONS), 1, {})
end

--- The prompt for the beginning, and the sections after it, as requests have them: "8 dark strings || 16.5 full orchestra".
function project.sections(marks, prompt)
  local first, texts = prompt, {}
  for _, mark in ipairs(marks) do
    if mark.seconds < SAME_SECONDS then
      first = words_of(mark.name, prompt)
    else
      texts[#texts + 1] = ("%.4f %s"):format(mark.seconds, words_of(mark.name, prompt))
    end
  end
  return first, table.concat(texts, " || ")
end

return project
