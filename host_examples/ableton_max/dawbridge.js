"use strict";

/**
 * The script of the patch's `node.script` object: what the patch sends goes to the device, what the device tells leaves at the outlet.
 *
 * Messages that it takes are the keys of `handlers` below, and every address of the bridge, such as `/bridge/scene/recall verse at bar`.
 */

const max = require("max-api");

const { Connection } = require("./client/connection");
const { Device } = require("./client/device");
const { Schema } = require("./client/schema");

const KEEP_MS = 200;
const PORT_MS = 1000;

/** The state in a dict of the patch, written a moment after the last change. */
class Keeper {
  constructor() {
    this.name = "";
    this._state = null;
    this._timer = null;
  }

  async read(name) {
    this.name = name;
    return max.getDict(name);
  }

  keep(state) {
    this._state = state;
    if (!this.name || this._timer) return;
    this._timer = setTimeout(() => {
      this._timer = null;
      max.setDict(this.name, this._state).catch((error) => say(`the state could not be kept: ${error.message}`, "error"));
    }, KEEP_MS);
  }
}

function say(text, level) {
  max.post(`dawbridge: ${text}`, { error: max.POST_LEVELS.ERROR, warn: max.POST_LEVELS.WARN }[level] || max.POST_LEVELS.INFO);
}

/** What the patch may send, by selector. */
function handlersOf(device, keeper) {
  const { connection } = device;
  return {
    port: (port) => connection.aim(port),
    state: async (mode, name) => {
      const state = await keeper.read(name);
      device.restore(state, mode);
    },
    prompt: (slot, ...words) => device.prompt(slot, words.join(" ")),
    weight: (slot, value) => device.weight(slot, value),
    set: (name, ...value) => device.set(name, value.length === 1 ? value[0] : value.join(" ")),
    open: () => device.open(),
    play: () => device.play(),
    continue: () => device.continueRegion(),
    midi: (...path) => device.midi(path.join(" ")),
    cancel: () => device.cancel(),
    stop: () => device.stop(),
    undo: () => device.undo(),
    rewind: (bars) => device.rewind(bars),
    melody_begin: (...values) => device.melodyBegin(...values),
    melody_add: (...values) => device.melodyAdd(...values),
    melody_end: () => device.melodyEnd(),
    melody_clear: () => device.melodyClear(),
    region: (...values) => device.chooseRegion(...values),
    record: (on) => device.record(on),
    follow: (on) => device.follow(on),
    tick: (...values) => device.tick(...values),
    result: (index) => device.choose(index),
    place: () => device.place(),
    show: () => device.show(),
    told: (...words) => device.say(words.join(" "), "warn"),
  };
}

/** A handler whose mistakes are told in the console and the status line; nothing that is sent to the script ends it. */
function guarded(device, handler) {
  return async (...values) => {
    try {
      await handler(...values);
    } catch (error) {
      device.say(error.message, "error");
    }
  };
}

async function main() {
  const osc = await import("osc-min");
  const schema = new Schema(require("./schema.json"));
  const connection = new Connection(osc, schema);
  const keeper = new Keeper();
  const device = new Device({
    schema,
    connection,
    outlet: (...values) => void max.outlet(...values),
    post: say,
    keep: (state) => keeper.keep(state),
  });
  const handlers = handlersOf(device, keeper);
  for (const path of schema.paths) handlers[path] = (...words) => device.request(path, words);
  for (const [selector, handler] of Object.entries(handlers)) max.addHandler(selector, guarded(device, handler));
  await connection.open();
  await max.outlet("tell", "ready");
  // A patch without a box for the port does not tell it.
  setTimeout(() => connection.port || connection.aim(schema.port), PORT_MS);
}

main().catch((error) => {
  const hint = error.code === "ERR_MODULE_NOT_FOUND" ? "; send 'script npm install' to node.script once" : "";
  say(`${error.message}${hint}`, "error");
});
