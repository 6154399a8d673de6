// The four outcomes of a gate, online verification, and the settings that do not start.
import assert from "node:assert/strict";
import { test } from "node:test";
import { AuthUnavailable, Authentication, Gate, Introspector, JwksCache, OfflineVerifier } from "idp-client";
import { FakeServer, ISSUER, newKey } from "./support.js";

const VALID = { valid: true, kind: "api_key", name: "laptop", scopes: ["read"], token_id: "k1", expires_at: null };

async function outcomeOf(gate: Gate, ...headers: string[]): Promise<string> {
  const outcome = await gate.decide(headers);
  return "error" in outcome ? `${outcome.kind} ${outcome.error.status} ${outcome.error.code}` : outcome.kind;
}

test("a request has one of four outcomes", async (t) => {
  const server = await FakeServer.with(VALID);
  t.after(() => server.close());
  const gate = Gate.at(server.url);
  assert.equal(await outcomeOf(gate), "absent");
  assert.equal(await outcomeOf(gate, "Authorization", "Bearer key"), "authenticated");
  assert.equal(await outcomeOf(gate, "x-api-key", "key"), "authenticated");
  assert.equal(await outcomeOf(gate, "X-API-Key", "key", "Authorization", "bearer key"), "authenticated");
  for (const bad of ["", "Bearer", "Bearer ", "Basic cGF0OnB3", "Bearer a b", "Bearer ü", `Bearer ${"x".repeat(9000)}`]) {
    assert.equal(await outcomeOf(gate, "Authorization", bad), "rejected 401 token_invalid", bad);
  }
  const two = ["Authorization", "Bearer key", "Authorization", "Bearer other"];
  assert.equal(await outcomeOf(gate, ...two), "rejected 400 ambiguous_credentials");
  server.reply = { status: 200, body: JSON.stringify({ valid: false, error: "token_revoked" }) };
  assert.equal(await outcomeOf(gate, "X-API-Key", "key"), "rejected 401 token_revoked");
});

test("what is not a verdict is an outage, never invalid", async (t) => {
  const server = await FakeServer.with(VALID);
  t.after(() => server.close());
  const online = new Introspector(server.url, { timeout: 0.3 });
  const replies = [401, 404, 429, 500, 503].map((status) => ({ status, body: JSON.stringify({ valid: false }) }));
  const bodies = ["", "null", "[]", "{}", '{"valid":1}', '{"valid":true,"scopes":"read"}', '{"valid":true,"user":{}}'];
  for (const reply of [...replies, ...bodies.map((body) => ({ status: 200, body })), { status: 200, body: "{}", wait: 900 }]) {
    server.reply = reply;
    await assert.rejects(online.validate("key"), AuthUnavailable, JSON.stringify(reply));
  }
  await assert.rejects(new Introspector("http://127.0.0.1:9").validate("key"), AuthUnavailable);
  assert.equal((await online.validate("two words")).error, "token_invalid");
});

test("a connection that the service has closed is no outage", async (t) => {
  const server = await FakeServer.with(VALID);
  t.after(() => server.close());
  const online = new Introspector(server.url);
  for (const _ of [1, 2, 3]) {
    assert.equal((await online.validate("key")).valid, true);
    server.dropConnections();
  }
});

test("roles of a token without roles are looked up, and an API key has none", async (t) => {
  const key = await newKey("one");
  const jwks = await FakeServer.with({ keys: [key.jwk] });
  const user = { id: "u", email: "ada@example.com", roles: ["admin"], teams: [], domains: [] };
  const idp = await FakeServer.with({ ...VALID, kind: "user", user });
  t.after(() => [jwks, idp].forEach((server) => server.close()));
  const offline = new OfflineVerifier(ISSUER, { keys: new JwksCache(jwks.url) });
  const headers = ["Authorization", `Bearer ${await key.token()}`];
  const roles = { roles: ["admin"] };

  const both = new Authentication(new Gate({ offline, online: new Introspector(idp.url) }), headers);
  assert.deepEqual((await both.require(roles)).user?.roles, ["admin"]);
  await assert.rejects(new Authentication(new Gate({ offline }), headers).require(roles), { code: "insufficient_roles" });
  const named = ["Authorization", `Bearer ${await key.token({ roles: ["admin"] })}`];
  await new Authentication(new Gate({ offline }), named).require(roles);
  idp.reply = { status: 200, body: JSON.stringify({ ...VALID, user }) };
  const withKey = new Authentication(Gate.at(idp.url), ["X-API-Key", "key"]);
  await assert.rejects(withKey.require(roles), { code: "insufficient_roles", status: 403 });
  await assert.rejects(withKey.require({ scopes: ["write"] }), (error: { headers: Record<string, string> }) => {
    assert.equal(error.headers["WWW-Authenticate"], 'Bearer error="insufficient_scope", scope="write"');
    return true;
  });
});

test("settings that would verify nothing do not start", () => {
  assert.throws(() => new Gate({}), TypeError);
  for (const leeway of [-1, 61, NaN]) assert.throws(() => new OfflineVerifier(ISSUER, { leeway }), RangeError);
});

test("a verified caller cannot be changed", async (t) => {
  const key = await newKey("one");
  const server = await FakeServer.with({ keys: [key.jwk] });
  t.after(() => server.close());
  const verifier = new OfflineVerifier(ISSUER, { keys: new JwksCache(server.url) });
  const caller = await verifier.verify(await key.token({ roles: ["user"] }));
  assert.throws(() => (caller.user?.roles as string[]).push("admin"), TypeError);
  assert.throws(() => ((caller as { kind: string }).kind = "admin"), TypeError);
});
