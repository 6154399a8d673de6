// A real OpenID provider, oidc-provider, whose tokens idp accepts. Prints READY and two tokens once it listens.
import { createServer } from "node:http";

import { Provider } from "oidc-provider";

const port = Number(process.argv[2]);
const issuer = `http://127.0.0.1:${port}`;
const RESOURCE = "https://api.example.com";
const PERSON = { sub: "person-1", email: "pat@corp.example", email_verified: true, name: "Pat Person", groups: ["eng"] };

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: "spa",
      token_endpoint_auth_method: "none",
      redirect_uris: ["http://127.0.0.1/callback"],
      grant_types: ["authorization_code"],
      response_types: ["code"],
    },
  ],
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name", "groups"] },
  conformIdTokenClaims: false,
  findAccount: async () => ({ accountId: PERSON.sub, claims: async () => PERSON }),
  features: {
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: () => ({ scope: "read", audience: RESOURCE, accessTokenFormat: "jwt", jwt: { sign: { alg: "RS256" } } }),
    },
  },
});

async function tokens() {
  const client = await provider.Client.find("spa");
  const access = new provider.AccessToken({ accountId: PERSON.sub, client, grantId: "grant", scope: "read", gty: "authorization_code" });
  access.resourceServer = new provider.ResourceServer(RESOURCE, {
    scope: "read",
    audience: RESOURCE,
    accessTokenFormat: "jwt",
    jwt: { sign: { alg: "RS256" } },
  });
  const ctx = { oidc: { provider, client, issuer, entities: {}, params: {}, cookies: {} } };
  const id = new provider.IdToken(PERSON, { ctx });
  id.scope = "openid email profile";
  id.set("iat", Math.floor(Date.now() / 1000));
  return { access: await access.save(), id: await id.issue({ use: "idtoken" }) };
}

createServer(provider.callback()).listen(port, "127.0.0.1", async () => {
  console.log(`READY ${JSON.stringify(await tokens())}`);
});
