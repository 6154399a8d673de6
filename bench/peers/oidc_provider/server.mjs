// oidc-provider as a peer: opaque introspection, client_credentials (opaque and JWT), userinfo, JWKS, over Valkey.
// Prints READY and its requests on one line once it listens (see bench/peers/__init__.py).
import { createHash, generateKeyPairSync } from "node:crypto";
import { createServer } from "node:http";

import { Provider } from "oidc-provider";

import { ValkeyAdapter } from "./adapter.mjs";

const port = Number(process.argv[2]);
const issuer = `http://127.0.0.1:${port}`;
const API = "https://api.example.com";
const CLIENT = { id: "bench-client", secret: "bench-client-secret-of-32-characters" };
const CALLBACK = "https://app.example.com/callback";
const VERIFIER = "bench-verifier-of-43-characters-or-even-more-";
const CODES = 20000;
const PERSON = { sub: "person-1", email: "person@example.com", email_verified: true, name: "Pat Person" };

const signingKey = {
  ...generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ format: "jwk" }),
  use: "sig",
  alg: "ES256",
  kid: "bench",
};
const provider = new Provider(issuer, {
  adapter: ValkeyAdapter,
  jwks: { keys: [signingKey] },
  clients: [
    {
      client_id: CLIENT.id,
      client_secret: CLIENT.secret,
      grant_types: ["client_credentials", "authorization_code"],
      redirect_uris: [CALLBACK],
      response_types: ["code"],
      id_token_signed_response_alg: "ES256",
    },
  ],
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name"] },
  scopes: ["openid", "email", "profile", "read", "write"],
  findAccount: async () => ({ accountId: PERSON.sub, claims: async () => PERSON }),
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    introspection: { enabled: true, allowedPolicy: () => true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: () => ({
        scope: "read write",
        audience: API,
        accessTokenFormat: "jwt",
        accessTokenTTL: 1800,
        jwt: { sign: { alg: "ES256" } },
      }),
    },
  },
  ttl: { AccessToken: 7200, AuthorizationCode: 7200, IdToken: 3600, ClientCredentials: 7200, Grant: 7200 },
});

// The result of a browser login: a grant and an access token.
async function tokenOfPerson() {
  const grant = new provider.Grant({ accountId: PERSON.sub, clientId: CLIENT.id });
  grant.addOIDCScope("openid email profile");
  const grantId = await grant.save();
  const client = await provider.Client.find(CLIENT.id);
  const token = new provider.AccessToken({
    accountId: PERSON.sub,
    client,
    grantId,
    gty: "authorization_code",
    scope: "openid email profile",
  });
  return token.save();
}

// As many results of a browser login: codes that wait for their exchange.
async function codesOfPerson() {
  const client = await provider.Client.find(CLIENT.id);
  const codeChallenge = createHash("sha256").update(VERIFIER).digest("base64url");
  const codes = [];
  for (let made = 0; made < CODES; made += 1) {
    const grant = new provider.Grant({ accountId: PERSON.sub, clientId: CLIENT.id });
    grant.addOIDCScope("openid email profile");
    const code = new provider.AuthorizationCode({
      accountId: PERSON.sub,
      acr: "1",
      authTime: Math.floor(Date.now() / 1000),
      claims: {},
      client,
      codeChallenge,
      codeChallengeMethod: "S256",
      grantId: await grant.save(),
      nonce: "bench",
      redirectUri: CALLBACK,
      scope: "openid email profile",
    });
    codes.push(await code.save());
  }
  return codes;
}

async function tokenOfClient() {
  const client = await provider.Client.find(CLIENT.id);
  return new provider.ClientCredentials({ client, scope: "read write" }).save();
}

const FORM = {
  "content-type": "application/x-www-form-urlencoded",
  authorization: `Basic ${Buffer.from(`${CLIENT.id}:${CLIENT.secret}`).toString("base64")}`,
};

async function requests() {
  const form = (fields) => new URLSearchParams(fields).toString();
  const granting = { grant_type: "client_credentials", scope: "read write" };
  const introspection = form({ token: await tokenOfClient(), token_type_hint: "access_token" });
  return {
    introspect: { method: "POST", path: "/token/introspection", headers: FORM, body: introspection, expect: { active: true } },
    client_credentials_opaque: {
      method: "POST",
      path: "/token",
      headers: FORM,
      body: form(granting),
      expect: { token_type: "Bearer" },
    },
    client_credentials_jwt: {
      method: "POST",
      path: "/token",
      headers: FORM,
      body: form({ ...granting, resource: API }),
      expect: { token_type: "Bearer" },
    },
    code: (await codesOfPerson()).map((code) => ({
      method: "POST",
      path: "/token",
      headers: FORM,
      body: form({ grant_type: "authorization_code", code, redirect_uri: CALLBACK, code_verifier: VERIFIER }),
      expect: { token_type: "Bearer" },
    })),
    me: {
      method: "GET",
      path: "/me",
      headers: { authorization: `Bearer ${await tokenOfPerson()}` },
      expect: { email: PERSON.email },
    },
    jwks: { method: "GET", path: "/jwks", headers: {}, expect: {} },
  };
}

const server = createServer(provider.callback());
server.keepAliveTimeout = 75_000;
server.listen(port, "127.0.0.1", async () => {
  console.log(`READY ${JSON.stringify({ requests: await requests() })}`);
});
