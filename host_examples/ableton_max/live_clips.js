/*
 * The device's reader of Live, for the `js` object: the selected clip's notes or audio go to node.script, results go into the set.
 * Written for Max 8's `js` (ECMAScript 5); `v8` runs it as well. Its outlet goes to node.script.
 */

inlets = 1;
outlets = 1;
autowatch = 1;

var PAGE = 16; // notes in one message
var MOST_NOTES = 2048; // what the bridge holds under one name
var SESSION = "Session";

// What Live gives comes as a list, even a single number.

function first(value) {
    return Array.isArray(value) ? value[0] : value;
}

function number(api, property) {
    return Number(first(api.get(property)));
}

function text(api, property) {
    var value = api.get(property);
    return Array.isArray(value) ? value.join(" ") : String(value);
}

function exists(api) {
    return Number(api.id) !== 0;
}

function tell(words) {
    outlet(0, "told", words);
}

// The clip: the one in the detail view, else the one in the selected slot, else the one that plays on this track.

function selectedClip() {
    var clip = new LiveAPI("live_set view detail_clip");
    if (exists(clip)) return clip;
    clip = new LiveAPI("live_set view highlighted_clip_slot clip");
    if (exists(clip)) return clip;
    return playingClip();
}

function playingClip() {
    var track = new LiveAPI("this_device canonical_parent");
    var slot = exists(track) ? number(track, "playing_slot_index") : -1;
    return new LiveAPI(slot < 0 ? "" : "this_device canonical_parent clip_slots " + slot + " clip");
}

// A MIDI clip's notes.

function melody() {
    var clip = selectedClip();
    if (!exists(clip) || !number(clip, "is_midi_clip")) return tell("select a MIDI clip first");
    var start = number(clip, "loop_start");
    var length = number(clip, "loop_end") - start;
    var notes = notesOf(clip, start, length);
    if (notes.length === 0) return tell("the clip has no notes");
    if (notes.length > MOST_NOTES) return tell("the clip has " + notes.length + " notes; at most " + MOST_NOTES + " can be sent");
    var tempo = number(new LiveAPI("live_set"), "tempo");
    outlet(0, "melody_begin", notes.length, length, tempo, number(clip, "signature_numerator"), number(clip, "signature_denominator"));
    for (var index = 0; index < notes.length; index += PAGE) {
        outlet(0, ["melody_add"].concat(flat(notes.slice(index, index + PAGE))));
    }
    outlet(0, "melody_end");
}

function notesOf(clip, start, length) {
    var found = JSON.parse(first(clip.call("get_notes_extended", 0, 128, start, length))).notes;
    var notes = [];
    for (var index = 0; index < found.length; index++) {
        var note = found[index];
        if (note.mute) continue;
        notes.push([note.pitch, note.start_time - start, note.duration, Math.min(127, Math.max(1, Math.round(note.velocity)))]);
    }
    notes.sort(function (a, b) {
        return a[1] - b[1] || a[0] - b[0];
    });
    return notes;
}

function flat(notes) {
    return [].concat.apply([], notes);
}

// An audio clip as a region of its file, in seconds.

function region() {
    var clip = selectedClip();
    if (!exists(clip) || !number(clip, "is_audio_clip")) return tell("select an audio clip first");
    var path = text(clip, "file_path");
    if (!path) return tell("Live knows no file of this clip; record it instead");
    var span = number(clip, "warping") ? warpedSpan(clip) : plainSpan(clip);
    if (!span) return;
    var rate = number(clip, "sample_rate");
    var end = rate > 0 ? Math.min(span.end, number(clip, "sample_length") / rate) : span.end;
    var start = Math.max(0, span.start);
    if (!(end > start)) return tell("the clip lies outside its file; record it instead");
    if (number(clip, "pitch_coarse") || number(clip, "pitch_fine")) tell("the clip is transposed in Live; its file is not");
    outlet(0, "region", path, start, end - start, span.bpm);
}

/* Without warp the clip's places are seconds of the file, and its tempo is not known. */
function plainSpan(clip) {
    return { start: number(clip, "loop_start"), end: number(clip, "loop_end"), bpm: 0 };
}

/* With warp they are beats; the warp markers say at which second of the file each beat lies. */
function warpedSpan(clip) {
    var markers = warpMarkers(clip);
    if (markers.length < 2) {
        tell("the clip is warped and this Live does not tell how (11 or newer does); record it instead");
        return null;
    }
    var from = number(clip, "loop_start");
    var to = number(clip, "loop_end");
    var start = secondsAt(markers, from);
    var end = secondsAt(markers, to);
    return { start: start, end: end, bpm: (60 * (to - from)) / (end - start) };
}

function warpMarkers(clip) {
    var told = clip.get("warp_markers");
    var content = first(told);
    if (typeof content !== "string" || content.charAt(0) !== "{") return [];
    var markers = JSON.parse(content).warp_markers || [];
    return markers.sort(function (a, b) {
        return a.beat_time - b.beat_time;
    });
}

/* Between two markers time passes evenly; before the first and after the last as in the segment beside. */
function secondsAt(markers, beat) {
    var index = 0;
    while (index < markers.length - 2 && markers[index + 1].beat_time <= beat) index++;
    var from = markers[index];
    var to = markers[index + 1];
    return from.sample_time + ((beat - from.beat_time) * (to.sample_time - from.sample_time)) / (to.beat_time - from.beat_time);
}

// A result goes into the set: into the selected slot, or onto the selected track where the song stands.

function place(path) {
    var view = text(new LiveAPI("live_app view"), "focused_document_view");
    if (view === SESSION) placeInSlot(path);
    else placeInArrangement(path);
}

function placeInSlot(path) {
    var slot = new LiveAPI("live_set view highlighted_clip_slot");
    if (!exists(slot)) return tell("select a clip slot first");
    if (number(slot, "has_clip")) return tell("the selected slot holds a clip already; choose an empty one");
    slot.call("create_audio_clip", path);
    if (!number(slot, "has_clip")) tell("Live 12.0.5 or newer and an audio track are needed; drag the file from 'show' instead");
    else tell("placed in the selected slot");
}

function placeInArrangement(path) {
    var track = new LiveAPI("live_set view selected_track");
    if (!exists(track) || !number(track, "has_audio_input")) return tell("select an audio track first");
    var before = text(track, "arrangement_clips"); // their ids: a new clip has a new one, even where it covers another
    var beat = number(new LiveAPI("live_set"), "current_song_time");
    track.call("create_audio_clip", path, beat);
    if (text(track, "arrangement_clips") === before) tell("Live 12.2 or newer is needed; drag the file from 'show' instead");
    else tell("placed at beat " + (beat + 1).toFixed(2));
}
