// A client of the provider with a page for people: the one at `/` says who is logged in here, `/login` leads to the provider.

import { once } from "node:events";
import { createServer } from "node:http";
import path from "node:path";
import { pathToFileURL } from "node:url";

const module = path.join(process.env.TEST_NODE_MODULES, "openid-client/build/index.js");
const openid = await import(pathToFileURL(module));

const page = (text, policy = "default-src 'none'; script-src 'unsafe-inline'") => [
  200,
  { "content-type": "text/html; charset=utf-8", "content-security-policy": policy },
  // Whether scripts run can be seen in the title.
  `<!doctype html><html lang="en"><title>plain</title><script>document.title = "scripted"</script><p>${text}`,
];

/** Listens on loopback; its URL, and how to stop it. */
export async function serve(issuer, id) {
  const execute = [openid.allowInsecureRequests];
  const config = await openid.discovery(issuer, id, undefined, openid.None(), { execute });
  const scope = "openid profile email orders:write orders:read";
  const asked = new Map();
  let own;

  async function answer(url) {
    switch (url.pathname) {
      case "/login": {
        const verifier = openid.randomPKCECodeVerifier();
        const state = openid.randomState();
        asked.set(state, verifier);
        const to = openid.buildAuthorizationUrl(config, {
          redirect_uri: `${own}/back`,
          scope,
          state,
          code_challenge: await openid.calculatePKCECodeChallenge(verifier),
          code_challenge_method: "S256",
        });
        return [303, { location: to.href }, ""];
      }
      case "/back": {
        const state = url.searchParams.get("state");
        const pkceCodeVerifier = asked.get(state);
        asked.delete(state);
        const tokens = await openid.authorizationCodeGrant(config, url, { pkceCodeVerifier, expectedState: state });
        const info = await openid.fetchUserInfo(config, tokens.access_token, tokens.claims().sub);
        return page(`Hello, ${info.name} (${tokens.scope})`);
      }
      // To be sure that it is noticed when something is wrong.
      case "/wrong":
        return page(`<img src="/missing.png"><style>p{color:red}</style>`, "default-src 'none'; img-src 'self'");
      default:
        return [404, {}, ""];
    }
  }

  const server = createServer((request, response) => {
    answer(new URL(request.url, own))
      .catch(({ error, message }) => page(`The client says: ${error ?? message}`))
      .then(([status, headers, body]) => response.writeHead(status, headers).end(body));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  own = `http://127.0.0.1:${server.address().port}`;
  return {
    url: own,
    stop: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}
