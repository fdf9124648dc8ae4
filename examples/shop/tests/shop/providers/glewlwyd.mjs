// Sets up a Glewlwyd by the calls that its administration page makes. Arguments: its URL, its folder. A second time it replaces the keys.

import assert from "node:assert/strict";
import { keysIn } from "./keys.mjs";

const [, , url, folder] = process.argv;
const RESOURCE = "https://shop.example";
const SCOPES = ["orders:read", "orders:write", "services"];
let cookie = "";

async function call(method, path, body) {
  const headers = { cookie, "content-type": "application/json" };
  const signal = AbortSignal.timeout(30_000);
  const answer = await fetch(`${url}/api/${path}`, { method, headers, body: JSON.stringify(body), signal });
  const text = await answer.text();
  for (const set of answer.headers.getSetCookie()) {
    cookie = set.split(";")[0];
  }
  if (!(method === "GET" && answer.status === 404)) {
    assert.equal(answer.status, 200, `${method} ${path}: ${text}`);
  }
  return answer.status === 200 && text !== "" ? JSON.parse(text) : undefined;
}

// The administrator of a new database.
await call("POST", "auth/", { username: "admin", password: "password" });

const keys = JSON.stringify({ keys: keysIn(folder) });
const there = await call("GET", "mod/plugin/oidc");
if (there) {
  there.parameters["jwks-private"] = keys;
  await call("PUT", "mod/plugin/oidc", there);
  await call("PUT", "mod/plugin/oidc/reset");
  process.exit();
}

for (const name of SCOPES) {
  await call("POST", "scope/", { name, display_name: name, password_required: true, scheme: {} });
}
await call("POST", "mod/plugin/", {
  module: "oidc",
  name: "oidc",
  display_name: "OpenID",
  order_rank: 0,
  parameters: {
    iss: `${url}/api/oidc`,
    "jwks-private": keys,
    "jwks-show": true,
    "access-token-duration": 3600,
    "refresh-token-duration": 1209600,
    "code-duration": 600,
    // Client credentials are of OAuth, not of OpenID.
    "allow-non-oidc": true,
    "auth-type-client-enabled": true,
    "auth-type-code-enabled": true,
    "pkce-allowed": true,
    "pkce-required": true,
    // Without it `aud` has the scopes.
    "resource-allowed": true,
    "resource-scope": Object.fromEntries(SCOPES.map((name) => [name, [RESOURCE]])),
  },
});
// Secrets of letters and digits, since it does not decode what clients encode (RFC 6749 section 2.3.1).
const program = {
  enabled: true,
  confidential: true,
  authorization_type: ["client_credentials"],
  token_endpoint_auth_method: ["client_secret_basic"],
};
await call("POST", "client/", {
  client_id: "shopper",
  password: "secretOfShopper",
  scope: ["orders:read", "orders:write"],
  ...program,
});
// Whoever has no scope at all gets no token.
await call("POST", "client/", { client_id: "orders", password: "secretOfOrders", scope: ["services"], ...program });
await call("POST", "client/", {
  client_id: "web",
  enabled: true,
  confidential: false,
  authorization_type: ["code"],
  token_endpoint_auth_method: ["none"],
  redirect_uri: ["https://app.example/back"],
});
await call("POST", "user/", {
  username: "ada",
  password: "lovelace",
  name: "Ada Lovelace",
  enabled: true,
  scope: ["openid", "g_profile", "orders:read", "orders:write"],
});
