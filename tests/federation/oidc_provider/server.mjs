// A real OpenID provider, oidc-provider, through which people sign in to idp. Everybody may sign in as any account.
// Arguments: its port, the client's secret, and the URL of idp. Prints READY once it listens.
import { createServer } from "node:http";

import { Provider } from "oidc-provider";

const [port, secret, idp] = process.argv.slice(2);
const issuer = `http://127.0.0.1:${port}`;

const provider = new Provider(issuer, {
  clients: [
    {
      client_id: "idp",
      client_secret: secret,
      redirect_uris: [`${idp}/federation/node/callback`],
      post_logout_redirect_uris: [`${idp}/federation/node/signed-out`],
      backchannel_logout_uri: `${idp}/federation/node/backchannel-logout`,
      backchannel_logout_session_required: true,
      grant_types: ["authorization_code"],
      response_types: ["code"],
    },
  ],
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name", "groups"] },
  pkce: { required: () => true },
  findAccount: async (_ctx, id) => ({
    accountId: id,
    claims: async () => ({ sub: id, email: `${id}@corp.example`, email_verified: true, name: `Person ${id}`, groups: ["eng"] }),
  }),
  fetch: (url, { body, headers, method }) => fetch(url, { body, headers, method }), // without its refusal of loopback
  features: {
    devInteractions: { enabled: true },
    backchannelLogout: { enabled: true },
    rpInitiatedLogout: { enabled: true },
  },
});

createServer(provider.callback()).listen(Number(port), "127.0.0.1", () => console.log("READY"));
