// OpenID providers, one for each member of SETTINGS (JSON): url, keys (JWKs), accounts (claims by name), seconds (that a token lives).
// What people would do in a browser, the test does with the pages of `devInteractions`.
import { createServer } from "node:https";
import { readFileSync } from "node:fs";
import Provider from "oidc-provider";

const tls = { cert: readFileSync(process.env.CERTIFICATE), key: readFileSync(process.env.KEY) };
for (const { url, keys, accounts, seconds } of JSON.parse(readFileSync(process.env.SETTINGS))) {
  const provider = new Provider(url, {
    clients: ["kcp", "other"].map((name) => ({
      client_id: name,
      client_secret: "secret",
      redirect_uris: ["https://localhost/done"],
      grant_types: ["authorization_code"],
      response_types: ["code"],
    })),
    claims: { openid: ["sub"], about: ["groups", "tenant", "email", "email_verified"] },
    conformIdTokenClaims: false,
    cookies: { keys: ["cookies"] },
    features: { devInteractions: { enabled: true } },
    findAccount: (_, name) => ({ accountId: name, claims: () => ({ sub: name, ...accounts[name] }) }),
    jwks: { keys },
    pkce: { required: () => false },
    ttl: { IdToken: seconds },
  });
  createServer(tls, provider.callback()).listen(new URL(url).port, "localhost");
}
