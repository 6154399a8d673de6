// A single-page app that signs its user in with idp: authorization code with PKCE, tokens in this tab only.
import { UserManager, WebStorageStateStore } from "oidc-client-ts";

const { authority, client_id } = await (await fetch("/config.json")).json();
const here = `${location.origin}/`;
const manager = new UserManager({
  authority, // everything else comes from its /.well-known/openid-configuration
  client_id,
  redirect_uri: `${here}callback`,
  post_logout_redirect_uri: here,
  scope: "openid profile email offline_access", // offline_access: renew with a refresh token, without an iframe
  userStore: new WebStorageStateStore({ store: sessionStorage }),
});

const element = (id) => document.getElementById(id);
const answer = (text) => (element("answer").textContent = text);

function show(user) {
  element("who").textContent = user ? `Signed in as ${user.profile.name ?? user.profile.sub}` : "Not signed in";
  element("sign-in").hidden = Boolean(user);
  for (const id of ["call", "renew", "sign-out"]) element(id).hidden = !user;
}

async function call() {
  const user = await manager.getUser();
  const response = await fetch("/api/greeting", { headers: { Authorization: `Bearer ${user.access_token}` } });
  answer(`${response.status} ${await response.text()}`);
}

async function renew() {
  const before = await manager.getUser();
  const user = await manager.signinSilent(); // with the refresh token; before the expiry it happens by itself
  answer(user.access_token === before.access_token ? "the same token" : "a new token");
}

function act(id, work) {
  element(id).addEventListener("click", () => work().catch((error) => answer(String(error))));
}

act("sign-in", () => manager.signinRedirect());
act("call", call);
act("renew", renew);
act("sign-out", () => manager.signoutRedirect());
manager.events.addUserLoaded(show);

try {
  const returned = new URLSearchParams(location.search);
  if (returned.has("code") || returned.has("error")) {
    await manager.signinCallback();
    history.replaceState({}, "", here); // the code is used: a reload must not send it again
  }
} catch (error) {
  answer(String(error));
}
show(await manager.getUser());
