// Runs npm's `oidc-provider` as it comes, with the login page that comes with it. Arguments: its folder, and what its tokens are, `jwt` or
// `opaque`. SIGHUP has it read its keys anew.

import { createServer } from "node:http";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { keysIn } from "./keys.mjs";

const module = path.join(process.env.TEST_NODE_MODULES, "oidc-provider/lib/index.js");
const { Provider, errors } = await import(pathToFileURL(module));
const [, , folder, format] = process.argv;

const RESOURCE = "https://shop.example";
const program = { grant_types: ["client_credentials"], redirect_uris: [], response_types: [] };

function provider(issuer, keys) {
  const [{ alg, kid }] = keys;
  const resource = {
    scope: "orders:read orders:write services",
    audience: RESOURCE,
    accessTokenFormat: format,
    accessTokenTTL: 3600,
    jwt: { sign: { alg, kid } },
  };
  return new Provider(issuer, {
    jwks: { keys },
    clientDefaults: { id_token_signed_response_alg: alg },
    enabledJWA: { idTokenSigningAlgValues: ["ES256", "Ed25519", "PS256", "RS256"] },
    clients: [
      { client_id: "shopper", client_secret: "secretOfShopper", ...program },
      { client_id: "orders", client_secret: "secretOfOrders", ...program },
      { client_id: "web", token_endpoint_auth_method: "none", redirect_uris: ["https://app.example/back"] },
    ],
    features: {
      clientCredentials: { enabled: true },
      introspection: { enabled: true },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo(_context, indicator) {
          if (indicator !== RESOURCE) throw new errors.InvalidTarget();
          return resource;
        },
      },
    },
  });
}

let answer;
const server = createServer((request, response) => answer(request, response));
server.listen(0, "127.0.0.1", () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  let loaded = 0;
  const load = () => {
    const keys = keysIn(folder);
    answer = provider(issuer, keys).callback();
    loaded += 1;
    console.log(`keys ${loaded}`);
  };
  load();
  process.on("SIGHUP", load);
  console.log(`issuer ${issuer}`);
});
