// What somebody does in one tab of a browser, and what they and others can see of its page.

import assert from "node:assert/strict";
import { setTimeout } from "node:timers/promises";

import { bounded, PATIENCE } from "./chromium.mjs";

const KEYS = {
  Tab: { key: "Tab", code: "Tab", windowsVirtualKeyCode: 9 },
  Enter: { key: "Enter", code: "Enter", windowsVirtualKeyCode: 13, text: "\r" },
};

export class Tab {
  /** What was asked for: the kind of it and its URL. */
  requests = [];
  /** What a developer would find in the console, and what was blocked. */
  complaints = [];
  #chromium;
  #session;
  #loaded = () => {};
  #scripts = true;

  static async of(chromium, session) {
    const tab = new Tab(chromium, session);
    for (const domain of ["Page", "Network", "Runtime", "Log", "Audits", "Accessibility"]) {
      await tab.#send(`${domain}.enable`);
    }
    // As if it were the tab in front, which has the keyboard.
    await tab.#send("Emulation.setFocusEmulationEnabled", { enabled: true });
    return tab;
  }

  constructor(chromium, session) {
    this.#chromium = chromium;
    this.#session = session;
    chromium.listen(session, (method, params) => this.#happened(method, params));
  }

  #send(method, params) {
    return this.#chromium.send(method, params, this.#session);
  }

  #happened(method, params) {
    switch (method) {
      case "Page.loadEventFired":
        return this.#loaded();
      case "Network.requestWillBeSent":
        return this.requests.push({ kind: params.type, url: params.request.url });
      case "Log.entryAdded":
        return this.complaints.push(params.entry.text);
      case "Runtime.consoleAPICalled":
        return this.complaints.push(JSON.stringify(params.args));
      case "Runtime.exceptionThrown":
        return this.complaints.push(params.exceptionDetails.text);
      case "Audits.issueAdded":
        return this.complaints.push(JSON.stringify(params.issue));
    }
  }

  /** Does what leads to another page, and waits for that. */
  async #leads(what, act) {
    const loaded = new Promise((resolve) => (this.#loaded = resolve));
    await act();
    await bounded(what, loaded);
  }

  go(url) {
    return this.#leads(url, () => this.#send("Page.navigate", { url }));
  }

  async press(key) {
    await this.#send("Input.dispatchKeyEvent", { type: "keyDown", ...KEYS[key] });
    await this.#send("Input.dispatchKeyEvent", { type: "keyUp", ...KEYS[key] });
  }

  enter() {
    return this.#leads("Enter", () => this.press("Enter"));
  }

  type(text) {
    return this.#send("Input.insertText", { text });
  }

  /** With the keyboard to the button of this name, which has to be among the next few that it leads to. */
  async tabTo(name) {
    for (let tries = 0; tries < 6; tries += 1) {
      await this.press("Tab");
      if ((await this.focus()).name === name) {
        return;
      }
    }
    assert.fail(`the key Tab does not lead to ${name}`);
  }

  /** With a finger onto the button of this name. */
  tap(name) {
    return this.#leads(name, async () => {
      const at = await this.evaluate((name) => {
        const button = [...document.querySelectorAll("button, a")].find((one) => one.textContent === name);
        button?.scrollIntoView({ block: "center" });
        const { x, y, width, height } = button?.getBoundingClientRect() ?? {};
        return button && { x: x + width / 2, y: y + height / 2 };
      }, name);
      assert.ok(at, `there is no ${name}`);
      for (const type of ["mousePressed", "mouseReleased"]) {
        await this.#send("Input.dispatchMouseEvent", { type, ...at, button: "left", clickCount: 1 });
      }
    });
  }

  /** What `of`, a function, gives within the page, whose own scripts may be switched off. */
  async evaluate(of, ...values) {
    const expression = `(${of})(...${JSON.stringify(values)})`;
    return this.#run({ expression, awaitPromise: true, returnByValue: true });
  }

  async #run(params) {
    const { result, exceptionDetails } = await this.#send("Runtime.evaluate", params);
    assert.ok(!exceptionDetails, JSON.stringify(exceptionDetails));
    return result.value;
  }

  async withoutScripts() {
    this.#scripts = false;
    await this.#send("Emulation.setScriptExecutionDisabled", { value: true });
  }

  /** As on such a screen. */
  async on({ width, height, scheme }) {
    const mobile = width < 600;
    await this.#send("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: mobile ? 2 : 1, mobile });
    await this.#send("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: scheme }] });
  }

  /** Where the keyboard is, and whether that can be seen. */
  focus() {
    return this.evaluate(() => {
      const { id, textContent, value } = document.activeElement;
      const style = getComputedStyle(document.activeElement);
      const isSeen = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
      return { name: id || textContent, value, isSeen };
    });
  }

  /** When a page has put the keyboard where it wants it, which is some time after it was loaded. */
  async isAt(name) {
    const deadline = Date.now() + PATIENCE;
    for (;;) {
      const focus = await this.focus();
      if (focus.name === name) {
        return focus;
      }
      assert.ok(Date.now() < deadline, `the keyboard is at ${focus.name}, not at ${name}`);
      await setTimeout(20);
    }
  }

  text() {
    return this.evaluate(() => document.body.innerText);
  }

  title() {
    return this.evaluate(() => document.title);
  }

  url() {
    return this.evaluate(() => location.href);
  }

  /** What a screen reader finds to fill in and to press. */
  async controls() {
    const { nodes } = await this.#send("Accessibility.getFullAXTree");
    const isControl = ({ ignored, role }) => !ignored && ["textbox", "button", "link"].includes(role.value);
    return nodes.filter(isControl).map(({ role, name }) => `${role.value} ${name.value}`);
  }

  /** What does not fit: the elements that are wider than the screen, or than what they stand in. */
  overflowing(width) {
    return this.evaluate((width) => {
      const isOut = (one) => {
        const { left, right } = one.getBoundingClientRect();
        return left < -0.5 || right > width + 0.5 || (one.scrollWidth > one.clientWidth + 1 && one.clientWidth > 0);
      };
      return [...document.querySelectorAll("html, body *:not(input)")].filter(isOut).map((one) => one.outerHTML.slice(0, 200));
    }, width);
  }

  /** What axe, given as its source, finds wrong by WCAG 2.2 AA and by good practice. It needs scripts, the page does not. */
  async violations(axe) {
    await this.#send("Emulation.setScriptExecutionDisabled", { value: false });
    await this.#run({ expression: axe });
    const result = await this.evaluate(async () => {
      const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
      const { violations, passes } = await window.axe.run({ runOnly: tags });
      const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map((one) => one.failureSummary + one.html).join("; ")}`);
      return { found, passed: passes.length };
    });
    await this.#send("Emulation.setScriptExecutionDisabled", { value: !this.#scripts });
    return result;
  }

  async screenshot() {
    const { data } = await this.#send("Page.captureScreenshot", { format: "png" });
    return Buffer.from(data, "base64");
  }
}
