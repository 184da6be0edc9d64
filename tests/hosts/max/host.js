"use strict";

/**
 * Max as tests need it: a strict `max-api` for the node.script program, and a strict LiveAPI for the `js` object, wired as in the patch.
 * Whatever the real ones do not have is an error that the test sees. Lines of JSON come in and go out:
 *
 *   in:  {"node": [selector, …]}  {"live": [selector, …]}
 *   out: {"from": "node" | "live" | "post" | "dict" | "error", …}
 *
 *   node host.js FOLDER ROUTES [SET]    ROUTES: selectors that the patch takes from node.script, by commas; SET: a JSON file
 */

const fs = require("fs");
const Module = require("module");
const path = require("path");
const readline = require("readline");

const { liveObject } = require("./live.js");

const [folder, routes, set] = process.argv.slice(2);
const taken = new Set(routes.split(","));
const handlers = new Map();
const dicts = new Map();

function tell(message) {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}

function fault(text) {
  tell({ from: "error", text });
}

function atoms(values, where) {
  for (const value of values) {
    if (typeof value !== "string" && !(typeof value === "number" && Number.isFinite(value))) throw new Error(`${where}: no atom: ${JSON.stringify(value)}`);
  }
}

async function toNode(selector, ...values) {
  const handler = handlers.get(selector);
  if (!handler) return fault(`node.script has no handler for ${selector}`);
  try {
    await handler(...values);
  } catch (error) {
    fault(`${selector}: ${error.stack}`);
  }
  return undefined;
}

const api = {
  MESSAGE_TYPES: Object.freeze({ ALL: "all", BANG: "bang", DICT: "dict", LIST: "list", NUMBER: "number" }),
  POST_LEVELS: Object.freeze({ ERROR: "error", INFO: "info", WARN: "warn" }),
  addHandler(selector, handler) {
    if (typeof selector !== "string" || typeof handler !== "function") throw new Error("addHandler(selector, function)");
    if (handlers.has(selector)) throw new Error(`two handlers for ${selector}`);
    handlers.set(selector, handler);
  },
  async outlet(selector, ...values) {
    atoms([selector, ...values], "outlet");
    if (!taken.has(selector)) throw new Error(`the patch has no route for ${selector}`);
    tell({ from: "node", message: [selector, ...values] });
    if (selector === "place") live("place", ...values);
  },
  async post(...values) {
    const level = Object.values(api.POST_LEVELS).includes(values[values.length - 1]) ? values.pop() : "info";
    atoms(values, "post");
    tell({ from: "post", level, text: values.join(" ") });
  },
  async getDict(name) {
    if (!dicts.has(name)) throw new Error(`no dict ${name}`);
    return JSON.parse(dicts.get(name));
  },
  async setDict(name, value) {
    if (!dicts.has(name)) throw new Error(`no dict ${name}`);
    dicts.set(name, JSON.stringify(value));
    tell({ from: "dict", name, value });
    return value;
  },
};

const strict = new Proxy(api, {
  get(target, name) {
    if (!(name in target) && name !== "then") throw new Error(`max-api has no member ${String(name)}`);
    return target[name];
  },
});

function wrongRead(table, what) {
  return new Proxy(table, {
    get(target, name) {
      if (!(name in target)) throw new Error(`${what} has no member ${String(name)}`);
      return target[name];
    },
  });
}

api.MESSAGE_TYPES = wrongRead(api.MESSAGE_TYPES, "MESSAGE_TYPES");
api.POST_LEVELS = wrongRead(api.POST_LEVELS, "POST_LEVELS");

const load = Module._load;
Module._load = (name, ...more) => (name === "max-api" ? strict : load(name, ...more));

process.on("unhandledRejection", (error) => fault(`unhandled: ${error.stack}`));

const reader = set ? liveObject(path.join(folder, "live_clips.js"), JSON.parse(fs.readFileSync(set, "utf8")), fromLive) : null;

function fromLive(outlet, ...values) {
  const message = values.length === 1 && Array.isArray(values[0]) ? values[0] : values;
  atoms(message, "outlet of js");
  if (outlet !== 0) return fault(`js has no outlet ${outlet}`);
  tell({ from: "live", message });
  return void toNode(...message);
}

function live(selector, ...values) {
  try {
    if (!reader) throw new Error("there is no js object in this patch");
    reader(selector, ...values);
  } catch (error) {
    fault(`js: ${error.message}`);
  }
}

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const message = JSON.parse(line);
  if (message.dict) dicts.set(message.dict, JSON.stringify(message.value));
  else if (message.handlers) tell({ from: "handlers", selectors: [...handlers.keys()] });
  else if (message.node) void toNode(...message.node);
  else live(...message.live);
}).on("close", () => process.exit(0));

require(path.join(folder, "dawbridge.js"));
