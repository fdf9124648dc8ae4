// Chromium without a window, told what to do over a pipe by its DevTools protocol. The protocol itself, since the libraries that
// wrap it want a newer Node than Debian has, and ten packages.

import { spawn } from "node:child_process";

import { Tab } from "./tab.mjs";

export const PATIENCE = 30_000;

const OPTIONS = [
  // Root can't have the sandbox, and CI is root; it visits our own pages only.
  "--no-sandbox",
  "--remote-debugging-pipe",
  "--disable-gpu",
  // Containers have 64 MB of shared memory.
  "--disable-dev-shm-usage",
  "--disable-background-networking",
  // Or what is pressed before the first picture of a page is lost.
  "--allow-pre-commit-input",
  "--hide-scrollbars",
  "--lang=en",
  // Nothing leaves this machine: no other host has an address.
  "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
];

/** `promise`, or after a while an error that names `what`. */
export async function bounded(what, promise) {
  // Made here, it tells who waits.
  const error = new Error(`${what}: nothing for ${PATIENCE / 1000} s`);
  let timer;
  const late = new Promise((_, reject) => (timer = setTimeout(reject, PATIENCE, error)));
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

export class Chromium {
  #process;
  #ended;
  #last = 0;
  #waiting = new Map();
  #listeners = new Map();

  /** One of its own, with its profile in the folder `profile`. It ends with `close`, and with the pipe: when this process is gone. */
  static async start(profile) {
    const chromium = new Chromium(profile);
    await chromium.send("Browser.getVersion");
    return chromium;
  }

  constructor(profile) {
    const stdio = ["ignore", "ignore", "ignore", "pipe", "pipe"];
    this.#process = spawn("chromium-headless-shell", [...OPTIONS, `--user-data-dir=${profile}`], { stdio });
    this.#ended = new Promise((resolve) => {
      const end = (why) => {
        const error = new Error(`chromium-headless-shell has ended: ${why}; \`cargo xtask test\` installs it`);
        this.#waiting.forEach(({ reject }) => reject(error));
        this.#waiting.clear();
        resolve();
      };
      this.#process.once("error", end);
      this.#process.once("exit", (status, signal) => end(signal ?? status));
    });
    // What can't be written any more is told by the end of the process.
    this.#process.stdio[3].on("error", () => {});
    let rest = "";
    this.#process.stdio[4].setEncoding("utf8").on("data", (text) => {
      const messages = (rest + text).split("\0");
      rest = messages.pop();
      messages.forEach((message) => this.#take(JSON.parse(message)));
    });
  }

  send(method, params = {}, sessionId = undefined) {
    const id = ++this.#last;
    const answer = new Promise((resolve, reject) => this.#waiting.set(id, { method, resolve, reject }));
    this.#process.stdio[3].write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    return bounded(method, answer);
  }

  /** Calls `listener` with the name and the parameters of what happens in a session. */
  listen(sessionId, listener) {
    this.#listeners.set(sessionId, listener);
  }

  #take({ id, error, result, method, params, sessionId }) {
    if (id === undefined) {
      this.#listeners.get(sessionId)?.(method, params);
      return;
    }
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error) {
      waiting?.reject(new Error(`${waiting.method}: ${error.message}`));
    } else {
      waiting?.resolve(result);
    }
  }

  /** A tab of a browser that knows nobody: with cookies of its own. */
  async person() {
    const { browserContextId } = await this.send("Target.createBrowserContext");
    const { targetId } = await this.send("Target.createTarget", { url: "about:blank", browserContextId });
    const { sessionId } = await this.send("Target.attachToTarget", { targetId, flatten: true });
    return Tab.of(this, sessionId);
  }

  async close() {
    const deadline = setTimeout(() => this.#process.kill("SIGKILL"), 5_000);
    this.send("Browser.close").catch(() => {});
    await this.#ended;
    clearTimeout(deadline);
  }
}
