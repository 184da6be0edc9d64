"use strict";

/**
 * The bridge's addresses and parameters as `schema.json` tells them: what may be sent, in which order and type, and within which range.
 * The file is written from the bridge's own message classes, so that nothing here has to be typed a second time.
 */

/** A value that the bridge would refuse. `message` names the parameter, what was given and what is allowed. */
class RequestError extends Error {
  constructor(name, value, allowed) {
    super(`${name} = ${JSON.stringify(value)} (allowed: ${allowed})`);
    this.name = "RequestError";
  }
}

class Schema {
  /** @param {object} tables the content of `schema.json` */
  constructor(tables) {
    this.port = tables.port;
    this.slots = tables.device.slots;
    this.events = new Map(Object.entries(tables.events));
    this._addresses = new Map(Object.entries(tables.addresses));
  }

  /** All addresses, such as `/bridge/play`. */
  get paths() {
    return [...this._addresses.keys()];
  }

  /** The table of an address; throws a RequestError when the bridge has no such address. */
  address(path) {
    const table = this._addresses.get(path);
    if (!table) throw new RequestError("address", path, "an address of the bridge");
    return table;
  }

  /** Whether this bridge knows the address. */
  has(path) {
    return this._addresses.has(path);
  }

  /** Whether an address takes the parameter. */
  takes(path, name) {
    return this.has(path) && name in this.address(path).parameters;
  }

  /**
   * The arguments of a message, checked: what is positional first, then the numbers of a list, then names and values.
   *
   * @param {string} path address
   * @param {object} values by parameter name; `undefined` is left out
   * @param {number} id the request's number, or 0 for none
   * @returns {{type: string, value: string | number}[]} as osc-min wants them
   */
  encode(path, values, id = 0) {
    const table = this.address(path);
    const given = Object.entries(values).filter(([, value]) => value !== undefined);
    for (const [name, value] of given) {
      if (!(name in table.parameters)) throw new RequestError(name, value, Object.keys(table.parameters).join(", ") || "none");
    }
    const found = new Map(given);
    const message = id ? [{ type: "integer", value: id }] : [];
    for (const name of table.positional) {
      if (!found.has(name)) throw new RequestError(name, null, this.allowed(table.parameters[name]));
      message.push(this._typed(name, table.parameters[name], found.get(name)));
    }
    if (table.rest && found.has(table.rest)) message.push(...this._numbers(table, found.get(table.rest)));
    for (const name of table.named) {
      if (!found.has(name)) continue;
      message.push({ type: "string", value: name }, this._typed(name, table.parameters[name], found.get(name)));
    }
    return message;
  }

  /** What was typed after an address in a message box, as values by name. */
  parse(path, words) {
    const table = this.address(path);
    const values = {};
    const rest = [...words];
    for (const name of table.positional) {
      if (rest.length) values[name] = rest.shift();
    }
    if (table.rest) {
      values[table.rest] = [];
      while (rest.length && typeof rest[0] === "number") values[table.rest].push(rest.shift());
    }
    while (rest.length) {
      const name = String(rest.shift());
      if (!rest.length) throw new RequestError(name, null, "a name and its value");
      values[name] = rest.shift();
    }
    return values;
  }

  /** A value in a parameter's own type; throws a RequestError when it is out of its range. */
  check(path, name, value) {
    const parameter = this.address(path).parameters[name];
    if (!parameter) throw new RequestError(name, value, Object.keys(this.address(path).parameters).join(", "));
    return this._typed(name, parameter, value).value;
  }

  /** A parameter's range in words. */
  allowed(parameter) {
    const { kind, choices, minimum, maximum, max_length: longest } = parameter;
    if (choices.length) return choices.join(", ");
    if (kind === "bool") return "0 or 1";
    if (kind === "str") return longest === null ? "text" : `text of at most ${longest} characters`;
    const noun = kind === "int" ? "a whole number" : "a number";
    return minimum === null ? noun : `${noun} from ${minimum} to ${maximum}`;
  }

  _typed(name, parameter, value) {
    if (parameter.kind === "str") return { type: "string", value: this._text(name, parameter, value) };
    if (parameter.kind === "bool") {
      if (![0, 1, true, false].includes(value)) throw new RequestError(name, value, this.allowed(parameter));
      return { type: "integer", value: Number(value) };
    }
    return { type: parameter.kind === "int" ? "integer" : "float", value: this._number(name, parameter, value) };
  }

  _text(name, parameter, value) {
    const text = typeof value === "number" && parameter.from_number ? String(value) : value;
    const wrong =
      typeof text !== "string" ||
      (parameter.max_length !== null && [...text].length > parameter.max_length) ||
      (parameter.choices.length && !parameter.choices.includes(text));
    if (wrong) throw new RequestError(name, value, this.allowed(parameter));
    return text;
  }

  _number(name, parameter, value) {
    const number = parameter.kind === "int" ? Math.round(value) : value;
    const wrong =
      typeof value !== "number" ||
      !Number.isFinite(value) ||
      (parameter.minimum !== null && number < parameter.minimum) ||
      (parameter.maximum !== null && number > parameter.maximum);
    if (wrong) throw new RequestError(name, value, this.allowed(parameter));
    return number;
  }

  _numbers(table, values) {
    const { max_length: most } = table.parameters[table.rest];
    const wrong = !Array.isArray(values) || (most !== null && values.length > most) || values.some((value) => !Number.isFinite(value));
    if (wrong) throw new RequestError(table.rest, values, `at most ${most} numbers`);
    return values.map((value) => ({ type: "float", value }));
  }
}

module.exports = { RequestError, Schema };
