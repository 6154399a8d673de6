// The whole life of a client with openid-client, from the discovery URL alone. Writes the authorization URL, reads
// where the browser came back, and writes what it got.
import { createInterface } from "node:readline/promises";
import * as client from "openid-client";

const { issuer, client_id, secret, method, jwk, redirect_uri, after_logout } = JSON.parse(process.argv[2]);

async function authentication() {
  if (method === "none") return client.None();
  if (method === "client_secret_post") return client.ClientSecretPost(secret);
  if (method === "client_secret_basic") return client.ClientSecretBasic(secret);
  const algorithm = { name: "ECDSA", namedCurve: "P-256" };
  const key = await crypto.subtle.importKey("jwk", jwk, algorithm, false, ["sign"]);
  return client.PrivateKeyJwt({ key, kid: jwk.kid });
}

const metadata = { client_secret: secret, use_mtls_endpoint_aliases: false };
const options = { execute: [client.allowInsecureRequests] }; // loopback without TLS
const config = await client.discovery(new URL(issuer), client_id, metadata, await authentication(), options);

const verifier = client.randomPKCECodeVerifier();
const expected = { state: client.randomState(), nonce: client.randomNonce() };
const url = client.buildAuthorizationUrl(config, {
  redirect_uri,
  scope: "openid profile email offline_access",
  code_challenge: await client.calculatePKCECodeChallenge(verifier),
  code_challenge_method: "S256",
  ...expected,
});
console.log(url.href);
const lines = createInterface({ input: process.stdin });
const callback = new URL((await lines[Symbol.asyncIterator]().next()).value);

const tokens = await client.authorizationCodeGrant(config, callback, {
  pkceCodeVerifier: verifier,
  expectedState: expected.state,
  expectedNonce: expected.nonce,
  idTokenExpected: true,
});
const claims = tokens.claims();
const userinfo = await client.fetchUserInfo(config, tokens.access_token, claims.sub);
const refreshed = await client.refreshTokenGrant(config, tokens.refresh_token);
const confidential = method !== "none";
const active = confidential ? await client.tokenIntrospection(config, refreshed.access_token) : null;
await client.tokenRevocation(config, refreshed.refresh_token);
const inactive = confidential ? await client.tokenIntrospection(config, refreshed.access_token) : null;
const again = await client.refreshTokenGrant(config, refreshed.refresh_token).catch((error) => error.error);
const own = confidential ? await client.clientCredentialsGrant(config, { scope: "reports" }) : null;
const logout = client.buildEndSessionUrl(config, {
  id_token_hint: tokens.id_token,
  post_logout_redirect_uri: after_logout,
  state: "bye",
});
console.log(
  JSON.stringify({
    claims,
    userinfo,
    refreshed: { type: refreshed.token_type, rotated: refreshed.refresh_token !== tokens.refresh_token },
    active,
    inactive,
    again,
    own: own && { type: own.token_type, expires_in: own.expires_in },
    logout: logout.href,
  }),
);
process.exit(0);
