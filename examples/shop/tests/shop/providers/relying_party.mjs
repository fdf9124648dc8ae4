// Gets an access token for the shop with npm's `openid-client`, and prints it. Arguments: the issuer; `program` for client credentials or
// `person` for a login in a browser; the scope. Or `revoke` and a token.

import assert from "node:assert/strict";
import path from "node:path";
import { pathToFileURL } from "node:url";

const module = path.join(process.env.TEST_NODE_MODULES, "openid-client/build/index.js");
const client = await import(pathToFileURL(module));
const [, , issuer, what, argument] = process.argv;

const resource = "https://shop.example";
const redirectUri = "https://app.example/back";
const insecure = { execute: [client.allowInsecureRequests] };

/** A browser: what it was given to keep, and what somebody does with the pages that it shows. */
const cookies = new Map();

async function visit(url, options = {}) {
  const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join("; ");
  const headers = { ...options.headers, cookie };
  const answer = await fetch(url, { ...options, headers, redirect: "manual", signal: AbortSignal.timeout(30_000) });
  for (const set of answer.headers.getSetCookie()) {
    const [, name, value] = set.match(/^([^=]+)=([^;]*)/);
    cookies.delete(name);
    if (value !== "") cookies.set(name, value);
  }
  return answer;
}

/** Sends the one form of a page, with what somebody writes into it. */
async function submit(url, page) {
  const form = page.match(/<form[^>]* action="([^"]+)" method="post">(.*?)<\/form>/s);
  assert.ok(form, page);
  const known = { login: "ada", password: "lovelace" };
  const body = new URLSearchParams();
  for (const [input] of form[2].matchAll(/<input[^>]*>/g)) {
    const [, name] = input.match(/ name="([^"]+)"/);
    body.set(name, known[name] ?? input.match(/ value="([^"]*)"/)[1]);
  }
  return visit(new URL(form[1], url), { method: "POST", body });
}

/** What the page of Glewlwyd, which is a program, does when somebody logs in, allows, and goes on. */
async function glewlwyd(page) {
  const [wanted, name] = [page.searchParams.get("scope"), page.searchParams.get("client_id")];
  const call = async (method, at, body) => {
    const headers = { "content-type": "application/json" };
    const answer = await visit(new URL(`/api/auth/${at}`, page), { method, headers, body: JSON.stringify(body) });
    assert.equal(answer.status, 200, `${method} ${at}`);
    return answer;
  };
  await call("POST", "", { username: "ada", password: "lovelace" });
  const asked = await (await call("GET", `grant/${name}/${encodeURIComponent(wanted)}`)).json();
  await call("PUT", `grant/${name}`, { scope: asked.scope.map((one) => one.name).join(" ") });
  return visit(`${page.searchParams.get("callback_url")}&g_continue`);
}

/** Where somebody is sent back who was sent to `url`. */
async function logIn(url) {
  let answer = await visit(url);
  for (let pages = 0; pages < 20; pages += 1) {
    const location = answer.headers.get("location");
    if (location === null) {
      assert.equal(answer.status, 200);
      answer = await submit(url, await answer.text());
      continue;
    }
    url = new URL(location, url);
    if (url.href.startsWith(`${redirectUri}?`)) return url;
    answer = url.pathname === "/login.html" ? await glewlwyd(url) : await visit(url);
  }
  throw new Error(`it does not end: ${url}`);
}

async function person() {
  const config = await client.discovery(new URL(issuer), "web", undefined, client.None(), insecure);
  const verifier = client.randomPKCECodeVerifier();
  const [state, nonce] = [client.randomState(), client.randomNonce()];
  const url = client.buildAuthorizationUrl(config, {
    redirect_uri: redirectUri,
    scope: `openid ${argument}`,
    resource,
    state,
    nonce,
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: "S256",
  });
  const checks = { pkceCodeVerifier: verifier, expectedState: state, expectedNonce: nonce, idTokenExpected: true };
  return client.authorizationCodeGrant(config, await logIn(url), checks, { resource });
}

async function program() {
  return client.clientCredentialsGrant(await shopper(), { scope: argument, resource });
}

async function shopper() {
  const proof = client.ClientSecretBasic("secretOfShopper");
  return client.discovery(new URL(issuer), "shopper", undefined, proof, insecure);
}

if (what === "revoke") {
  await client.tokenRevocation(await shopper(), argument);
} else {
  const tokens = await (what === "person" ? person() : program());
  console.log(`token ${tokens.access_token}`);
}
