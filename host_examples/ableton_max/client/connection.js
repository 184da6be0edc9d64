"use strict";

/**
 * One UDP socket that sends to the bridge and hears its answers and events. It looks after the bridge every two seconds, so that
 * a bridge that was started anew, or started later, hears of this client by itself.
 */

const dgram = require("dgram");
const { EventEmitter } = require("events");
const { performance } = require("perf_hooks");

const HEARTBEAT_MS = 2000;
const LOST_MS = 5000;
const ANSWER_MS = 5000;
const UPTIME_SLACK_S = 1; // an answer may be on its way for so long
const ACCEPTED_MS = 60000;
const LAST_ID = 16777215; // what a host that sends floats can still count to

/** What the bridge refused, or did not answer. `code` is one of the protocol's error codes, `no_answer` or `restarted`. */
class BridgeError extends Error {
  constructor(code, text) {
    super(text);
    this.name = "BridgeError";
    this.code = code;
  }
}

/**
 * Events: `state` (connecting, connected or lost), `restarted`, `status` (values by name), `event` (address, values).
 */
class Connection extends EventEmitter {
  /**
   * @param {object} osc the module osc-min
   * @param {import("./schema").Schema} schema
   */
  constructor(osc, schema) {
    super();
    this.state = ""; // until it is told where the bridge is
    this._osc = osc;
    this._schema = schema;
    this._pending = new Map();
    // Listeners hear of every client's streams by the id of the request: each begins somewhere else, so that none takes another's.
    this._lastId = Math.floor(Math.random() * LAST_ID);
    this._uptime = -1;
    this._heard = 0;
    this._registered = false;
    this._target = { port: 0, host: "127.0.0.1" };
  }

  /** The bridge's UDP port. */
  get port() {
    return this._target.port;
  }

  /** Open the socket on a free port of this machine, and resolve to it. The bridge is looked for once `aim` has told where. */
  open() {
    return new Promise((resolve, reject) => {
      this._socket = dgram.createSocket("udp4");
      this._socket.once("error", reject);
      this._socket.on("message", (packet) => this._receive(packet));
      this._socket.bind(0, this._target.host, () => {
        this._socket.off("error", reject);
        this._socket.on("error", () => {}); // a bridge that is not there yet; the heartbeat tells
        this._timer = setInterval(() => this._beat(), HEARTBEAT_MS);
        resolve(this._socket.address().port);
      });
    });
  }

  /** Talk to the bridge at this port of this machine from now on. */
  aim(port) {
    if (port === this._target.port) return;
    if (!Number.isInteger(port) || port < 1 || port > 65535) throw new BridgeError("out_of_range", `port = ${port} (allowed: 1 to 65535)`);
    this._target = { ...this._target, port };
    this._renew("the bridge is another one now");
    this._uptime = -1;
    this.state = "";
    this._become("connecting");
    this._beat();
  }

  /** End everything; what is waited for fails. */
  close() {
    clearInterval(this._timer);
    this._fail("no_answer", "closed");
    if (this._socket && this._registered) this.send("/notify", [{ type: "integer", value: 0 }]);
    return new Promise((resolve) => this._socket.close(resolve));
  }

  /** Send a message that nobody waits for. */
  send(path, args) {
    const view = this._osc.toBuffer({ address: path, args });
    const packet = Buffer.from(view.buffer, view.byteOffset, view.byteLength);
    this._socket.send(packet, this._target.port, this._target.host);
  }

  /**
   * Ask something and wait for the answer.
   *
   * @param {string} path address
   * @param {object} values parameters by name
   * @param {(stream: number) => void} [accepted] called with the stream's number once a request that opens one was accepted
   * @returns {Promise<object>} the answer's values by name; for a list its rows
   */
  ask(path, values, accepted) {
    const id = this._nextId();
    const args = this._schema.encode(path, values, id);
    const table = this._schema.address(path);
    return new Promise((resolve, reject) => {
      const entry = { path, table, resolve, reject, rows: [], accepted };
      const patience = table.opens_stream ? ACCEPTED_MS : ANSWER_MS;
      entry.timer = setTimeout(() => this._giveUp(id), patience);
      this._pending.set(id, entry);
      this.send(path, args);
    });
  }

  _nextId() {
    do {
      this._lastId = (this._lastId % LAST_ID) + 1;
    } while (this._pending.has(this._lastId));
    return this._lastId;
  }

  _giveUp(id) {
    const entry = this._take(id);
    if (entry) entry.reject(new BridgeError("no_answer", `${entry.path}: no answer; is the bridge running? (daw-bridge up)`));
  }

  _take(id) {
    const entry = this._pending.get(id);
    if (entry) clearTimeout(entry.timer);
    this._pending.delete(id);
    return entry;
  }

  _fail(code, text) {
    for (const id of [...this._pending.keys()]) this._take(id).reject(new BridgeError(code, text));
  }

  _beat() {
    if (!this._target.port) return;
    if (this.state === "connected" && performance.now() - this._heard > LOST_MS) this._become("lost");
    this.send("/status", []);
  }

  _become(state) {
    if (this.state === state) return;
    this.state = state;
    if (state !== "connected") this._registered = false;
    this.emit("state", state);
  }

  _receive(packet) {
    let message;
    try {
      message = this._osc.fromBuffer(packet);
    } catch (error) {
      return; // nobody of ours
    }
    for (const each of message.oscType === "bundle" ? message.elements : [message]) {
      this._dispatch(each.address, each.args.map((argument) => argument.value));
    }
  }

  _dispatch(path, values) {
    if (path === "/status.reply") return this._status(pairs(values));
    if (path === "/done" || path === "/fail") return this._answer(path, values);
    const row = path.endsWith(".item") && this._pending.get(values[0]);
    if (row) return void row.rows.push(pairs(values.slice(3)));
    const names = this._schema.events.get(path);
    if (!names) return undefined;
    const event = Object.fromEntries(names.map((name, index) => [name, values[index]]));
    if (path === "/bridge/queued") this._accept(event);
    return void this.emit("event", path, event);
  }

  _status(status) {
    const now = performance.now();
    // The same process would have been up for longer by as much as has passed.
    const restarted = this._uptime >= 0 && status.uptime < this._uptime + (now - this._heard) / 1000 - UPTIME_SLACK_S;
    this._uptime = status.uptime;
    this._heard = now;
    if (restarted) this._renew("the bridge was started anew");
    if (!this._registered) this.send("/notify", [{ type: "integer", value: 1 }]);
    this._become("connected");
    this.emit("status", status);
  }

  _renew(why) {
    this._registered = false;
    this._fail("restarted", why);
    this.emit("restarted");
  }

  _accept({ request, stream }) {
    const entry = this._pending.get(request);
    if (!entry || entry.stream) return;
    clearTimeout(entry.timer); // it may play for hours now
    entry.stream = stream;
    if (entry.accepted) entry.accepted(stream);
  }

  _answer(kind, [path, id, ...values]) {
    if (path === "/notify") {
      this._registered = kind === "/done";
      return;
    }
    const entry = this._pending.get(id);
    if (!entry || entry.path !== path) return;
    this._take(id);
    if (kind === "/fail") {
      entry.reject(new BridgeError(values[0], values[1]));
    } else if (entry.table.listed) {
      entry.resolve(entry.rows);
    } else {
      entry.resolve(Object.fromEntries(entry.table.answer.map((name, index) => [name, values[index]])));
    }
  }
}

function pairs(values) {
  const found = {};
  for (let index = 0; index + 1 < values.length; index += 2) found[values[index]] = values[index + 1];
  return found;
}

module.exports = { BridgeError, Connection };
