"use strict";

/** Paths as Max, Live and the operating system spell them, and the file manager. */

const { execFile } = require("child_process");
const fs = require("fs");
const path = require("path");

const CLOSING_MS = 3000; // how long an object of Max may take to close its file
const TRY_MS = 100;

/**
 * A path from a Max object as the operating system writes it. Max on macOS begins paths with the volume's name, `Macintosh HD:/Users/…`;
 * a single letter before the colon is a Windows drive.
 */
function nativePath(text) {
  const found = /^([^/\\:]{2,}):(\/.*)$/.exec(text);
  return found ? `/Volumes/${found[1]}${found[2]}` : text;
}

/** A path for Max's own objects, which want forward slashes. */
function maxPath(text) {
  return text.replace(/\\/g, "/");
}

/** The file's name, from a path of any system. */
function fileName(text) {
  return maxPath(text).split("/").pop();
}

/** How a file is shown in the file manager of a platform: the program and its arguments. */
function revealing(file, platform = process.platform) {
  if (platform === "darwin") return ["open", ["-R", file]];
  if (platform === "win32") return ["explorer.exe", [`/select,${file.replace(/\//g, "\\")}`]];
  return ["xdg-open", [path.dirname(file)]];
}

/** Show a file in the file manager; `failed` is called with a text when there is none. */
function reveal(file, failed) {
  const [program, args] = revealing(file);
  execFile(program, args, (error) => {
    // Windows' Explorer ends with 1 even when all is well.
    if (error && !(process.platform === "win32" && error.code === 1)) failed(error.message);
  });
}

/** Give a recording its name once it is closed: until then Windows refuses, and nobody may read it. */
async function finish(from, to) {
  for (const deadline = Date.now() + CLOSING_MS; ; ) {
    await new Promise((resolve) => setTimeout(resolve, TRY_MS));
    try {
      await fs.promises.rename(from, to);
      return;
    } catch (error) {
      if (Date.now() > deadline) throw new Error(`nothing was recorded: ${error.message}`);
    }
  }
}

module.exports = { fileName, finish, maxPath, nativePath, reveal, revealing };
