"use strict";

/** A clip's notes on their way to the bridge, in pages that fit into a packet. */

const PAGE = 16; // notes in one message

/** Beats per bar as the bridge counts them, with Live's quarter notes turned into those beats. */
function metre(numerator, denominator) {
  const quarters = (numerator * 4) / denominator;
  // Seven eighths are no whole number of quarters: there an eighth is the beat.
  return Number.isInteger(quarters) ? { beatsPerBar: quarters, scale: 1 } : { beatsPerBar: numerator, scale: denominator / 4 };
}

/** Collects what a clip's reader sends piece by piece. */
class Melody {
  /**
   * @param {string} name under which the bridge keeps it
   * @param {number} count notes that will come
   * @param {number} length of the clip in quarter notes
   * @param {number} bpm quarter notes a minute
   */
  constructor(name, count, length, bpm) {
    this.begin = { name, count, length, bpm };
    this.values = [];
  }

  /** Add notes: pitch, start and length in quarter notes, velocity, for each. */
  add(values) {
    if (values.length % 4) throw new Error("pitch, start, length and velocity of each note");
    this.values.push(...values);
  }

  get notes() {
    return this.values.length / 4;
  }

  /** Send everything; resolves once the bridge holds all of it. */
  async send(connection) {
    if (this.notes !== this.begin.count) throw new Error(`${this.notes} notes of ${this.begin.count} came`);
    await connection.ask("/bridge/notes/begin", this.begin);
    for (let index = 0; index < this.notes; index += PAGE) {
      const values = this.values.slice(4 * index, 4 * (index + PAGE));
      await connection.ask("/bridge/notes/add", { name: this.begin.name, index, values });
    }
  }
}

module.exports = { Melody, metre };
