// Logs in with openid-client, as a web application, as a program on somebody's machine, and as a browser does for them.
// Argument: the issuer.

import assert from "node:assert/strict";
import path from "node:path";
import { pathToFileURL } from "node:url";

const module = path.join(process.env.TEST_NODE_MODULES, "openid-client/build/index.js");
const client = await import(pathToFileURL(module));
const issuer = new URL(process.argv[2]);

/** Presses a button of the one form of a page, which posts to where the page stands. */
async function submit(browser, url, page, action, fields) {
  const data = new URLSearchParams({ ...fields, action });
  for (const [, name, value] of page.matchAll(/<input type="hidden" name="([^"]+)" value="([^"]*)"/g)) {
    data.set(name, value);
  }
  assert.ok(page.includes(`name="action" value="${action}"`), page);
  return visit(browser, url, { method: "POST", body: data });
}

async function visit(browser, url, options = {}) {
  const cookie = [...browser].map(([name, value]) => `${name}=${value}`).join("; ");
  const headers = { cookie, "sec-fetch-site": "same-origin" };
  const answer = await fetch(url, { ...options, headers, redirect: "manual", signal: AbortSignal.timeout(30_000) });
  for (const set of answer.headers.getSetCookie()) {
    const [, name, value] = set.match(/^([^=]+)=([^;]*);/);
    browser.set(name, value);
  }
  return answer;
}

/** What somebody does who is sent to `url`; where they are sent back. */
async function logIn(url) {
  const browser = new Map();
  const page = await visit(browser, url);
  assert.equal(page.status, 200);
  let answer = await submit(browser, url, await page.text(), "login", { login: "ada", password: "correct horse" });
  if (answer.status === 200) {
    answer = await submit(browser, url, await answer.text(), "allow", {});
  }
  assert.equal(answer.status, 303);
  return new URL(answer.headers.get("location"));
}

async function withCode(config, redirectUri, scope) {
  const verifier = client.randomPKCECodeVerifier();
  const [state, nonce] = [client.randomState(), client.randomNonce()];
  const url = client.buildAuthorizationUrl(config, {
    redirect_uri: redirectUri,
    scope,
    state,
    nonce,
    code_challenge: await client.calculatePKCECodeChallenge(verifier),
    code_challenge_method: "S256",
    max_age: "600",
  });
  const back = await logIn(url);
  assert.ok(back.href.startsWith(`${redirectUri}?`), back.href);
  return client.authorizationCodeGrant(config, back, {
    pkceCodeVerifier: verifier,
    expectedState: state,
    expectedNonce: nonce,
    maxAge: 600,
    idTokenExpected: true,
  });
}

const insecure = { execute: [client.allowInsecureRequests] };

// A web application, discovered both ways.
for (const algorithm of ["oidc", "oauth2"]) {
  const proof = client.ClientSecretBasic("the secret of web: 100%");
  const config = await client.discovery(issuer, "web", undefined, proof, { ...insecure, algorithm });
  const tokens = await withCode(config, "https://app.example/back", "openid profile email offline_access orders:read");
  assert.equal(tokens.claims().sub, "ada");
  const info = await client.fetchUserInfo(config, tokens.access_token, "ada");
  assert.equal(info.name, "Ada Lovelace");
  const next = await client.refreshTokenGrant(config, tokens.refresh_token);
  assert.notEqual(next.refresh_token, tokens.refresh_token);
  assert.equal((await client.tokenIntrospection(config, next.access_token)).active, true);
  await client.tokenRevocation(config, next.refresh_token);
  assert.equal((await client.tokenIntrospection(config, next.access_token)).active, false);
  await assert.rejects(client.refreshTokenGrant(config, next.refresh_token), { error: "invalid_grant" });
  const own = await client.clientCredentialsGrant(config, { scope: "orders:read", resource: "orders" });
  assert.equal(own.token_type, "bearer");
  const end = client.buildEndSessionUrl(config, { id_token_hint: next.id_token ?? tokens.id_token });
  assert.equal((await visit(new Map(), end)).status, 200);
}

// A program that listens where it can.
const config = await client.discovery(issuer, "app", undefined, client.None(), insecure);
const tokens = await withCode(config, "http://127.0.0.1:53682/back", "openid offline_access");
assert.equal(tokens.claims().aud, "app");
await client.refreshTokenGrant(config, tokens.refresh_token);
// Twice is once too often, and ends it all.
await assert.rejects(client.refreshTokenGrant(config, tokens.refresh_token), { error: "invalid_grant" });
await assert.rejects(client.fetchUserInfo(config, tokens.access_token, "ada"));
console.log("done");
