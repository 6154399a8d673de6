// Fastify with `inject`, as the tests of a service use it, and a route whose plugin was forgotten.
import assert from "node:assert/strict";
import { test } from "node:test";
import Fastify from "fastify";
import { Gate, Introspector } from "idp-client";
import { authentication, callerOf, requiresScopes } from "idp-client/fastify";
import { FakeServer } from "./support.js";

test("injected requests are authenticated, in nested plugins too", async (t) => {
  const idp = await FakeServer.with({ valid: true, kind: "service_token", name: "robot", scopes: ["read"] });
  const app = Fastify();
  t.after(() => Promise.all([app.close(), idp.close()]));
  await app.register(authentication, { gate: new Gate({ online: new Introspector(idp.url) }) });
  await app.register(async (nested) => {
    nested.get("/read", { onRequest: requiresScopes("read") }, async (request) => callerOf(request).name);
    nested.get("/write", { preHandler: requiresScopes("write") }, async () => "written");
    nested.get("/forgotten", async (request) => callerOf(request).name);
  });
  const headers = { "x-api-key": "key" };
  assert.equal((await app.inject({ url: "/read", headers })).body, "robot");
  assert.equal((await app.inject({ url: "/read" })).statusCode, 401);
  assert.equal((await app.inject({ url: "/write", headers })).json().code, "insufficient_scopes");
  assert.equal((await app.inject({ url: "/forgotten", headers })).statusCode, 500);
});

test("without the plugin, a route with a requirement is closed", async (t) => {
  const app = Fastify();
  t.after(() => app.close());
  app.get("/read", { onRequest: requiresScopes("read") }, async () => "read");
  assert.equal((await app.inject({ url: "/read", headers: { "x-api-key": "key" } })).statusCode, 500);
});
