// The private keys of a provider, kept in its folder. The file `keys` there has a line for each, the one that signs first: its id and its
// algorithm. One that is not there yet is made.

import { generateKeyPairSync } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";

const KINDS = {
  ES256: ["ec", { namedCurve: "P-256" }],
  Ed25519: ["ed25519", {}],
  PS256: ["rsa", { modulusLength: 2048 }],
  RS256: ["rsa", { modulusLength: 2048 }],
};

/** As JWKs. */
export function keysIn(folder) {
  const lines = readFileSync(path.join(folder, "keys"), "utf8").trim().split("\n");
  return lines.map((line) => {
    const [kid, alg] = line.split(" ");
    const file = path.join(folder, `${kid}.jwk`);
    if (!existsSync(file)) {
      const { privateKey } = generateKeyPairSync(...KINDS[alg]);
      const jwk = { ...privateKey.export({ format: "jwk" }), kid, alg, use: "sig" };
      writeFileSync(file, JSON.stringify(jwk), { mode: 0o600 });
    }
    return JSON.parse(readFileSync(file, "utf8"));
  });
}
