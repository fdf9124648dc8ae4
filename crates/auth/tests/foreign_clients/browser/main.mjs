// People log in at the provider's own pages, in Chromium, and are sent back to a client made with openid-client.
// Arguments: the issuer, a folder for Chromium's profile, and one for what the pages looked like.

import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";

import { Chromium } from "./chromium.mjs";
import { serve } from "./client.mjs";

const [issuer, profile, pictures] = process.argv.slice(2);
const axe = await readFile(path.join(process.env.TEST_NODE_MODULES, "axe-core/axe.min.js"), "utf8");

const WIDE = { name: "wide", width: 1024, height: 720, scheme: "light" };
const NARROW = { name: "narrow", width: 360, height: 720, scheme: "dark" };
// WCAG 2.2, 1.4.10: nothing has to be scrolled both ways.
const NARROWEST = { width: 320, height: 480, scheme: "light" };

/** Looks at a page on screens of all kinds, and last on `screen`. */
async function look(tab, name, screen, controls) {
  assert.deepEqual(await tab.controls(), controls, name);
  await tab.on(NARROWEST);
  assert.deepEqual(await tab.overflowing(NARROWEST.width), [], name);
  for (const one of screen === WIDE ? [NARROW, WIDE] : [WIDE, NARROW]) {
    await tab.on(one);
    assert.deepEqual(await tab.overflowing(one.width), [], `${name}, ${one.name}`);
    const { found, passed } = await tab.violations(axe);
    assert.deepEqual(found, [], `${name}, ${one.name}`);
    assert.ok(passed > 10, `axe has looked at nothing of ${name}`);
    await writeFile(path.join(pictures, `${name}-${one.name}.png`), await tab.screenshot());
  }
}

const LOGIN = ["textbox User name", "textbox Password", "button Log in", "button Cancel"];
const CONSENT = ["button Allow", "button Refuse", "button Use another account"];

/** Everything that was loaded is a page of the provider or the client, and nobody complained but of the answers given. */
function wasQuiet(tab, client, answers) {
  for (const { kind, url } of tab.requests) {
    assert.ok(kind === "Document" && (url.startsWith(`${issuer}/`) || url.startsWith(`${client.url}/`)), `${kind} ${url}`);
  }
  const expected = answers.map((status) => `Failed to load resource: the server responded with a status of ${status}`);
  assert.deepEqual(tab.complaints.map((text) => text.replace(/ \([^)]*\)$/, "")), expected);
}

async function noticesWhatIsWrong(chromium, client) {
  const tab = await chromium.person();
  await tab.go(`${client.url}/wrong`);
  const complaints = tab.complaints.join("\n");
  assert.ok(complaints.includes("status of 404"), complaints);
  assert.ok(complaints.includes("style-src") && complaints.includes("script-src"), complaints);
  assert.throws(() => wasQuiet(tab, client, []));
  assert.notDeepEqual((await tab.violations(axe)).found, []);
}

/** By keyboard alone, on a wide screen. */
async function logsIn(chromium, client) {
  const tab = await chromium.person();
  await tab.on(WIDE);
  await tab.go(`${client.url}/login`);
  assert.equal(await tab.title(), "Log in to The shop");
  assert.deepEqual(await tab.isAt("login"), { name: "login", value: "", isSeen: true });
  await look(tab, "login", WIDE, LOGIN);

  await tab.type("ada");
  await tab.press("Tab");
  assert.equal((await tab.focus()).name, "password");
  await tab.type("a wrong one");
  await tab.enter();
  assert.equal(await tab.title(), "Not logged in: The shop");
  assert.match(await tab.text(), /The user name or the password is wrong\./);
  assert.equal(await tab.evaluate(() => document.getElementById("login").value), "ada");
  assert.deepEqual(await tab.isAt("password"), { name: "password", value: "", isSeen: true });
  await look(tab, "wrong-password", WIDE, LOGIN);

  await tab.type("correct horse");
  await tab.enter();
  assert.equal(await tab.title(), "Allow The shop?");
  const asked = await tab.text();
  for (const part of ["ada", "see your name", "place and cancel orders", "orders:read", "127.0.0.1"]) {
    assert.ok(asked.includes(part), `${part}: ${asked}`);
  }
  await look(tab, "consent", WIDE, CONSENT);
  await tab.tabTo("Allow");
  assert.ok((await tab.focus()).isSeen);
  await tab.enter();
  assert.match(await tab.text(), /^Hello, Ada Lovelace \(.*orders:write.*\)/);
  assert.ok((await tab.url()).startsWith(`${client.url}/back?code=`));
  assert.equal(await tab.title(), "scripted");

  await tab.go(`${issuer}/logout`);
  await look(tab, "log-out", WIDE, ["button Log out"]);
  await tab.tabTo("Log out");
  await tab.enter();
  assert.match(await tab.text(), /You are logged out/);
  await look(tab, "logged-out", WIDE, []);

  // Who they are is asked again, what was allowed is not.
  await tab.go(`${client.url}/login`);
  await tab.isAt("login");
  await tab.type("ada");
  await tab.press("Tab");
  await tab.isAt("password");
  await tab.type("correct horse");
  await tab.tabTo("Log in");
  await tab.enter();
  assert.match(await tab.text(), /^Hello, Ada Lovelace/);
  wasQuiet(tab, client, [403]);
}

/** On a telephone, by clicks, without scripts. */
async function refuses(chromium, client) {
  const tab = await chromium.person();
  await tab.on(NARROW);
  await tab.withoutScripts();
  await tab.go(`${client.url}/login`);
  await tab.isAt("login");
  await tab.type("grace.hopper.of.the.united.states.navy@a-rather-long-name.example");
  await tab.press("Tab");
  await tab.isAt("password");
  await tab.type("battery staple");
  await tab.tap("Log in");
  await look(tab, "consent-of-long-words", NARROW, CONSENT);
  await tab.tap("Refuse");
  assert.equal(await tab.text(), "The client says: access_denied");
  assert.equal(await tab.title(), "plain", "scripts are off");

  // Still logged in; a mistake of the client is told where it can't be sent back.
  await tab.go(`${issuer}/authorize?client_id=shop&redirect_uri=http://127.0.0.1/elsewhere`);
  await look(tab, "mistake", NARROW, []);
  await tab.go(`${client.url}/login`);
  await tab.tap("Use another account");
  assert.equal(await tab.title(), "Log in to The shop");
  await tab.tap("Cancel");
  assert.equal(await tab.text(), "The client says: access_denied");
  wasQuiet(tab, client, [400]);
}

const client = await serve(new URL(issuer), "shop");
const chromium = await Chromium.start(profile);
try {
  await noticesWhatIsWrong(chromium, client);
  await logsIn(chromium, client);
  await refuses(chromium, client);
} finally {
  await chromium.close();
  client.stop();
}
console.log("done");
