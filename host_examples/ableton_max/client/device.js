"use strict";

/**
 * What a patch or a device does: prompt slots with weights, parameters, one live stream of its own, pieces, continuations, melodies.
 * It knows nothing of Max; `outlet` and `post` are given to it.
 */

const { Changes } = require("./changes");
const { fileName, finish, maxPath, nativePath, reveal } = require("./files");
const { Melody, metre } = require("./melody");

const MELODY = "clip";
const TICKS_PER_QUARTER = 480;
const MOST_RESULTS = 32;
const OPENED = "/bridge/open";
const UNSET = { bpm: 0, key: "", seed: -1 }; // what leaves a parameter to the words, the clock or chance
const BY_WORDS = "by words"; // the menu's entry for no key

/** Selectors of everything that leaves `outlet`; the patch has a route for each. */
const OUTPUTS = [
  "status", "connection", "sounding", "stream", "restore", "tell", "results", "record", "preview", "place", "answer", "event",
];

class Device {
  /**
   * @param {object} parts
   * @param {import("./schema").Schema} parts.schema
   * @param {import("./connection").Connection} parts.connection
   * @param {(selector: string, ...values: (string | number)[]) => void} parts.outlet
   * @param {(text: string, level?: string) => void} parts.post to Max's console; level `warn` or `error`
   * @param {(state: object) => void} parts.keep is given the state whenever it has changed
   */
  constructor({ schema, connection, outlet, post, keep }) {
    this.schema = schema;
    this.connection = connection;
    this.outlet = outlet;
    this.post = post;
    this.keep = keep;
    this.slots = Array.from({ length: schema.slots }, () => ({ text: "", weight: 1 }));
    this.parameters = {};
    this.stream = 0;
    this.mine = new Set();
    this.region = null;
    this.melody = null;
    this.followed = {};
    this.results = [];
    this.result = -1;
    this.following = false;
    this.recording = "";
    this.changes = new Changes((kind, values) => this._change(kind, values));
    connection.on("state", (state) => this._connected(state));
    connection.on("restarted", () => this._forgetStreams());
    connection.on("event", (path, event) => this._heard(path, event));
  }

  // What the patch's prompts and dials say.

  /** The words of a slot, from 1. */
  prompt(slot, text) {
    // An empty textedit sends nothing behind its selector, which `prepend` spells "bang".
    this._slot(slot).text = text === "bang" ? "" : String(text).trim();
    this._wordsChanged();
  }

  /** The weight of a slot, heard at once. */
  weight(slot, value) {
    this._slot(slot).weight = Number(value);
    if (this.stream && this._slot(slot).text && this._words().length > 1) {
      this.changes.put("weights", { values: this._words().map((each) => each.weight) });
    }
    this._changed();
  }

  /** A parameter of `/bridge/open`, `/bridge/play` or `/bridge/update`; a stream that plays hears it. */
  set(name, value) {
    const path = ["/bridge/open", "/bridge/play", "/bridge/update"].find((each) => this.schema.takes(each, name));
    this.parameters[name] = this.schema.check(path || OPENED, name, value === BY_WORDS ? "" : value);
    this._changed();
    if (!this.stream || name === "morph") return;
    if (name === "level") this.changes.put("level", { level: this.parameters.level });
    else if (this.schema.takes("/bridge/update", name)) this.changes.put("update", { [name]: this.parameters[name], ...this._morph() });
  }

  // What its buttons ask for.

  /** Open a stream without an end; one that plays already gives its place to it. */
  open() {
    const values = { ...this._sound(OPENED), replaces: this.stream || undefined };
    return this._run(OPENED, { prompt: this._prompt(), ...values }, (stream) => this._take(stream));
  }

  /** Make a piece of the length that `duration` says. */
  play() {
    return this._run("/bridge/play", { prompt: this._prompt(), ...this._sound("/bridge/play") });
  }

  /** Go on from the region that was chosen last: a clip of Live, a file, or what was recorded. */
  continueRegion() {
    if (!this.region) throw new Error("choose an audio clip or record something first");
    const { path, start, length, bpm } = this.region;
    const sound = this._sound("/bridge/continue");
    // The music goes on at the tempo of the file, which is not the set's where the clip is warped.
    if (bpm) sound.bpm = bpm;
    return this._run("/bridge/continue", { path, start, length, prompt: this._prompt(), ...sound });
  }

  /** Play a piece that follows a MIDI file. */
  midi(path) {
    return this._run("/bridge/midi", { path: nativePath(path), prompt: this._prompt(), ...this._sound("/bridge/midi") });
  }

  /** Fade this device's live stream out. */
  cancel() {
    if (!this.stream) throw new Error("nothing plays here");
    return this._ask("/bridge/cancel", { stream: this.stream });
  }

  /** End everything that the bridge plays, other clients' streams too. */
  stop() {
    return this._ask("/bridge/stop", {});
  }

  /** Take the last change of the live stream back. */
  undo() {
    return this._past("/bridge/undo", {});
  }

  /** Go back some bars. */
  rewind(bars) {
    return this._past("/bridge/rewind", { bars });
  }

  /** Any request, as the protocol's page writes it: address, values, names and values. What comes back leaves at `answer`. */
  async request(path, words) {
    const opens = this.schema.address(path).opens_stream;
    const answer = await this.connection.ask(path, this.schema.parse(path, words), (stream) => this.mine.add(stream));
    if (Array.isArray(answer)) answer.forEach((row, index) => this.outlet("answer", path, index, ...Object.entries(row).flat()));
    else this.outlet("answer", path, ...Object.values(answer));
    if (opens) this._over(answer);
  }

  // Melodies, regions, recordings.

  /** A clip's notes follow: how many, the clip's length in quarter notes, quarter notes a minute, its signature. */
  melodyBegin(count, length, bpm, numerator = 4, denominator = 4) {
    this.melody = new Melody(MELODY, count, length, bpm);
    // Where a bar is counted in other notes than quarters, the bridge counts other beats than Live: there the words decide.
    this.melody.metre = denominator === 4 ? `${numerator}/4` : "";
  }

  /** A page of them: pitch, start, length, velocity for each. */
  melodyAdd(...values) {
    if (!this.melody) throw new Error("melody_begin comes first");
    this.melody.add(values);
  }

  /** All of them were sent: hand them to the bridge, and to the stream that plays. */
  async melodyEnd() {
    if (!this.melody) throw new Error("melody_begin comes first");
    const { melody } = this;
    this.melody = null;
    await melody.send(this.connection);
    this._follow({ notes: MELODY, metre: melody.metre });
    this.say(`the melody has ${melody.notes} notes`);
  }

  /** Follow no melody any more. */
  melodyClear() {
    this._follow({ notes: "" });
    this.followed = {};
    this.say("no melody");
  }

  /** Choose what a continuation goes on from: a file, from a second on, for some seconds (0: to its end), at a tempo (0: not known). */
  chooseRegion(path, start = 0, length = 0, bpm = 0) {
    const file = nativePath(String(path));
    this.region = {
      path: this.schema.check("/bridge/continue", "path", file),
      start: this.schema.check("/bridge/continue", "start", start),
      length: this.schema.check("/bridge/continue", "length", length),
      bpm: this.schema.check("/bridge/continue", "bpm", bpm),
    };
    const span = length ? `${start.toFixed(2)} to ${(start + length).toFixed(2)} s` : "all of it";
    this.say(`${fileName(file)}: ${span}`);
  }

  /** Record the device's input into the bridge's exchange folder, or end that; the recording becomes the region. */
  async record(on) {
    if (on && !this.recording) {
      const answer = await this._ask("/bridge/exchange", { suffix: "wav" });
      if (!answer) return;
      this.recording = answer.path;
      this.outlet("record", "open", maxPath(`${answer.path}.part`), "wave");
      this.outlet("record", 1);
      this.say("recording");
    } else if (!on && this.recording) {
      const path = this.recording;
      this.recording = "";
      this.outlet("record", 0);
      await finish(`${path}.part`, path);
      this.chooseRegion(path);
    }
  }

  // The clock.

  /** Let the bridge follow Max's transport, which in a device is Live's, or count by itself again. */
  follow(on) {
    if (!on && !this.following) return undefined; // another clock may count, which is not this patch's business
    this.following = Boolean(on);
    return this._ask("/bridge/clock", { source: on ? "host" : "internal" });
  }

  /** Where the transport is: quarter notes a minute, ticks of it, whether it plays, its signature. */
  tick(tempo, ticks, playing, numerator = 4, denominator = 4) {
    const path = "/bridge/clock/tick";
    if (!this.following || this.connection.state !== "connected" || !this.schema.has(path)) return;
    const { beatsPerBar, scale } = metre(numerator, denominator);
    const beat = (ticks / TICKS_PER_QUARTER) * scale;
    const values = { beat, bpm: tempo * scale, beats_per_bar: beatsPerBar, playing: playing ? 1 : 0 };
    this.connection.send(path, this.schema.encode(path, values));
  }

  // What was made.

  /** Choose a result by its place in the list, from 0. */
  choose(index) {
    if (!this.results[index]) throw new Error("there is no such result");
    this.result = index;
    this.outlet("preview", "open", maxPath(this.results[index]));
  }

  /** Have the chosen result put into the set; the patch's reader of Live does it. */
  place() {
    this.outlet("place", this._chosen());
  }

  /** Show the chosen result in the file manager, from where it can be dragged onto a track. */
  show() {
    reveal(this._chosen(), (text) => this.say(text, "error"));
  }

  // The state that is kept with the patch.

  /** What is to be there again when the patch is opened. */
  get state() {
    const { slots, parameters, results, stream } = this;
    return { version: 1, slots, parameters, results, stream };
  }

  /** Take a kept state up. In a device of Live the set keeps the dials. In either, they are asked to tell their values then. */
  restore(state, mode) {
    if (state && state.version === 1) {
      this.results = (Array.isArray(state.results) ? state.results : []).filter((each) => typeof each === "string").slice(-MOST_RESULTS);
      if (mode === "max") this._restoreDials(state);
      else this._restoreDials({ parameters: only("seed", state.parameters) }); // which no parameter of Live can hold
    }
    this._listResults();
    this.outlet("tell", "bang");
  }

  /** A line for the console and the status line. */
  say(text, level) {
    this.post(text, level);
    this.outlet("status", text);
  }

  // How it is done.

  _restoreDials({ slots = [], parameters = {} }) {
    slots.slice(0, this.slots.length).forEach(({ text = "", weight = 1 }, index) => {
      this.slots[index] = { text: String(text), weight: Number(weight) };
      this.outlet("restore", `prompt${index + 1}`, this.slots[index].text);
      this.outlet("restore", `weight${index + 1}`, this.slots[index].weight);
    });
    for (const [name, value] of Object.entries(parameters)) {
      try {
        this.set(name, value);
        this.outlet("restore", name, value === "" ? BY_WORDS : value);
      } catch (error) {
        this.say(`${error.message}; it was kept by another version`, "warn");
      }
    }
  }

  _slot(number) {
    const slot = this.slots[number - 1];
    if (!slot) throw new Error(`slot ${number} (allowed: 1 to ${this.slots.length})`);
    return slot;
  }

  /** Follow a melody from now on, in what plays and in what comes. */
  _follow(values) {
    this.followed = values;
    if (this.stream) this.changes.put("update", values);
  }

  _words() {
    return this.slots.filter((slot) => slot.text);
  }

  _prompt() {
    return this._words().map((slot) => slot.text).join(" || ");
  }

  _weights() {
    return this._words().length > 1 ? this._words().map((slot) => Number(slot.weight.toFixed(4))).join(" ") : "";
  }

  _wordsChanged() {
    this._changed();
    if (this.stream) this.changes.put("update", { prompt: this._prompt(), weights: this._weights(), ...this._morph() });
  }

  _morph() {
    return this.parameters.morph ? { morph: this.parameters.morph } : {};
  }

  /** The parameters that an address takes; what stands at its neutral value is left to the words and the clock. */
  _sound(path) {
    const values = { weights: this._weights() };
    for (const [name, value] of Object.entries({ ...this.followed, ...this.parameters })) {
      const taken = this.schema.takes(path, name) && UNSET[name] !== value;
      // Whether it is recorded is asked of the live stream only: a piece without a file would be no result.
      if (taken && (name !== "save" || path === OPENED)) values[name] = value;
    }
    return values;
  }

  async _run(path, values, accepted = () => {}) {
    try {
      const answer = await this.connection.ask(path, values, (stream) => {
        this.mine.add(stream);
        accepted(stream);
      });
      this._over(answer);
      return answer;
    } catch (error) {
      this.say(error.message, "error");
      return undefined;
    }
  }

  _past(path, values) {
    if (!this.stream) throw new Error("nothing plays here");
    return this._run(path, { stream: this.stream, ...values }, (stream) => this._take(stream));
  }

  async _ask(path, values) {
    try {
      return await this.connection.ask(path, values);
    } catch (error) {
      this.say(error.message, "error");
      return undefined;
    }
  }

  async _change(kind, values) {
    if (!this.stream) return;
    await this._ask(`/bridge/${kind}`, { stream: this.stream, ...values });
  }

  _take(stream) {
    this.changes.clear();
    this.stream = stream;
    this.outlet("stream", stream);
    this._changed();
  }

  _over({ stream, reason, path, seconds, note }) {
    this.mine.delete(stream);
    if (stream === this.stream) this._silent();
    if (path) this._addResult(path);
    const told = path ? `${fileName(path)} (${seconds.toFixed(1)} s)` : `stream ${stream}`;
    this.say(`${told}: ${reason}${note ? `; ${note}` : ""}`, reason === "failed" || reason === "engine_lost" ? "error" : undefined);
  }

  _silent() {
    this.changes.clear();
    this.stream = 0;
    this.outlet("stream", 0);
    this.outlet("sounding", 0);
    this._changed();
  }

  _forgetStreams() {
    this.mine.clear();
    if (this.stream) this._silent();
    this.followed = {}; // its notes went with it
    if (this.following) this.follow(1);
  }

  _addResult(path) {
    this.results = [...this.results, path].slice(-MOST_RESULTS);
    this._listResults();
    this._changed();
  }

  _listResults() {
    this.outlet("results", "clear");
    for (const path of this.results) this.outlet("results", "append", fileName(path));
    if (!this.results.length) return;
    this.choose(this.results.length - 1);
    this.outlet("results", "set", this.result);
  }

  _chosen() {
    if (!this.results[this.result]) throw new Error("nothing has been made yet");
    return this.results[this.result];
  }

  _connected(state) {
    const port = this.connection.port;
    this.outlet("connection", state === "connected" ? 1 : 0);
    if (state === "connected") this.say(`connected to the bridge at port ${port}`);
    else this.say(state === "lost" ? "the bridge does not answer any more" : `looking for the bridge at port ${port}`, "warn");
  }

  _heard(path, event) {
    const told = this._told(path, event);
    if (told) this.say(...told);
    if (path === "/bridge/sounding" && event.stream === this.stream) this.outlet("sounding", 1);
    this.outlet("event", path, ...Object.values(event).filter((value) => value !== undefined));
  }

  /** What an event is worth saying: a line and its level, or nothing. */
  _told(path, { stream, state, reason, bar, beat, model }) {
    if (path === "/bridge/engine") {
      return state === "ready" ? [`the engine is ready: ${model}`] : ["the engine is gone; it is started again", "warn"];
    }
    if (!this.mine.has(stream)) return null;
    if (path === "/bridge/held") return state === "holding" ? [`the last bars play again (${reason})`, "warn"] : ["the music goes on"];
    if (path === "/bridge/scheduled") return [`stream ${stream} begins at ${bar}.${beat}`];
    if (path === "/bridge/late") return [`too late for ${bar}.${beat}`, "warn"];
    return null;
  }

  _changed() {
    this.keep(this.state);
  }
}

/** One of an object's members, if it has it. */
function only(name, members = {}) {
  return name in members ? { [name]: members[name] } : {};
}

module.exports = { Device, OUTPUTS };
