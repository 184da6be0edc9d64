"use strict";

/** Live's object model as a JSON file describes a set, for a `js` object. Unknown classes, properties and functions are errors. */

const fs = require("fs");
const vm = require("vm");

// Names of the Live Object Model's reference that a device may read or call.
const MODEL = {
  Song: {
    properties: ["tempo", "signature_numerator", "signature_denominator", "is_playing", "current_song_time", "tracks", "view"],
    functions: [],
  },
  View: { properties: ["focused_document_view"], functions: ["show_view"] },
  Track: {
    properties: ["playing_slot_index", "has_audio_input", "has_midi_input", "arrangement_clips", "clip_slots", "name"],
    functions: ["create_audio_clip"],
  },
  ClipSlot: { properties: ["has_clip", "clip", "is_group_slot"], functions: ["create_audio_clip"] },
  Clip: {
    properties: [
      "is_midi_clip", "is_audio_clip", "loop_start", "loop_end", "start_marker", "end_marker", "looping", "length", "name", "warping",
      "warp_markers", "file_path", "sample_rate", "sample_length", "pitch_coarse", "pitch_fine", "signature_numerator",
      "signature_denominator", "gain",
    ],
    functions: ["get_notes_extended"],
  },
};

/** What the functions do to the set. */
const FUNCTIONS = {
  get_notes_extended(object, pitch, pitches, time, span) {
    const inside = (note) => note.pitch >= pitch && note.pitch < pitch + pitches && note.start_time >= time && note.start_time < time + span;
    return [JSON.stringify({ notes: object.notes.filter(inside) })];
  },
  create_audio_clip(object, path, beat) {
    if (typeof path !== "string") throw new Error("create_audio_clip wants a path");
    if (object.old) return ["error"]; // a Live that has not got it posts a line in its console and goes on
    if (object.class === "ClipSlot") object.properties.has_clip = 1;
    else {
      if (typeof beat !== "number") throw new Error("a track's create_audio_clip wants a beat too");
      object.properties.arrangement_clips = [...object.properties.arrangement_clips, "id", 900 + object.properties.arrangement_clips.length];
    }
    object.placed = [path, beat];
    return ["id", 901];
  },
};

function apiOf(set) {
  return class LiveAPI {
    constructor(path) {
      if (typeof path !== "string") throw new Error("LiveAPI wants a path");
      const name = set.paths[path];
      if (path && name === undefined) throw new Error(`the set has nothing at ${path}`);
      this._object = name ? set.objects[name] : null;
      this.id = this._object ? String(this._object.id) : "0";
      return new Proxy(this, {
        get(target, member) {
          if (!(member in target)) throw new Error(`LiveAPI has no member ${String(member)}`);
          return target[member];
        },
      });
    }

    get(property) {
      const object = this._known("properties", property);
      const value = object.properties[property];
      if (value === undefined) throw new Error(`the test's ${object.class} does not say its ${property}`);
      return Array.isArray(value) ? value : [value];
    }

    call(name, ...values) {
      return FUNCTIONS[name](this._known("functions", name), ...values);
    }

    _known(kind, name) {
      if (!this._object) throw new Error(`no object: ${name} of nothing`);
      if (!MODEL[this._object.class][kind].includes(name)) throw new Error(`${this._object.class} has no ${name}`);
      return this._object;
    }
  };
}

/** Load a script as `js` does; the returned function sends it a message. */
function liveObject(file, set, outlet) {
  const globals = {
    LiveAPI: apiOf(set),
    outlet,
    post() {},
    error() {},
    messagename: "",
    jsarguments: [file],
    inlet: 0,
    max: {},
  };
  const context = vm.createContext(globals);
  vm.runInContext(fs.readFileSync(file, "utf8"), context, { filename: file });
  if (context.inlets !== 1 || context.outlets !== 1) throw new Error("the js box has one inlet and one outlet");
  return (selector, ...values) => {
    if (typeof context[selector] !== "function") throw new Error(`no function ${selector}`);
    context.inlet = 0;
    context[selector](...values);
  };
}

module.exports = { liveObject };
