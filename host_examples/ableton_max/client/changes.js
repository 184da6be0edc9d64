"use strict";

/**
 * What is changed in a stream while it plays. One change is under way at a time; what moves meanwhile is put together into the next,
 * so that a dial that is swept neither floods the bridge nor ends at a value of a moment ago.
 */
class Changes {
  /** @param {(kind: string, values: object) => Promise<void>} send sends one change: `update`, `weights` or `level` */
  constructor(send) {
    this._send = send;
    this._waiting = new Map();
    this._busy = false;
  }

  /** Change something as soon as the last change was answered. Values of one kind are merged, the later one wins. */
  put(kind, values) {
    this._waiting.set(kind, { ...this._waiting.get(kind), ...values });
    if (!this._busy) this._run();
  }

  /** Drop what is not under way yet: it was meant for a stream that is over. */
  clear() {
    this._waiting.clear();
  }

  async _run() {
    this._busy = true;
    while (this._waiting.size) {
      const [kind, values] = this._waiting.entries().next().value;
      this._waiting.delete(kind);
      await this._send(kind, values);
    }
    this._busy = false;
  }
}

module.exports = { Changes };
