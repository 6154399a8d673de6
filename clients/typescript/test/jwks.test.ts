// The cache of keys: rotation, unknown keys, outages (SEC-22, SEC-30, SEC-31).
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { AuthUnavailable, JwksCache, OfflineVerifier, TokenRejected, type JwksCacheOptions } from "idp-client";
import { FakeServer, ISSUER, newKey } from "./support.js";

async function issuer(t: TestContext, options: JwksCacheOptions) {
  const [key, other] = await Promise.all([newKey("one"), newKey("two")]);
  const server = await FakeServer.with({ keys: [key.jwk] });
  t.after(() => server.close());
  const verifier = new OfflineVerifier(ISSUER, { keys: new JwksCache(server.url, options) });
  return { key, other, server, verifier };
}

const publish = (...keys: unknown[]) => ({ status: 200, body: JSON.stringify({ keys }) });

test("many callers share one fetch", async (t) => {
  const { key, server, verifier } = await issuer(t, {});
  const tokens = await Promise.all(Array.from({ length: 20 }, (_, n) => key.token({ jti: `t${n}` })));
  await Promise.all(tokens.map((token) => verifier.verify(token)));
  assert.equal(server.asked, 1);
});

test("unknown keys cause one fetch in each cool-down", async (t) => {
  const { key, other, server, verifier } = await issuer(t, { coolDown: 0.3 });
  await verifier.verify(await key.token());
  await wait(350);
  const foreign = await other.token();
  for (const _ of [1, 2, 3]) await assert.rejects(verifier.verify(foreign), TokenRejected);
  assert.equal(server.asked, 2);
  server.reply = publish(key.jwk, other.jwk);
  await wait(350);
  await verifier.verify(foreign);
  assert.equal(server.asked, 3);
});

test("cached keys live while the issuer is down, and no longer", async (t) => {
  const { key, other, server, verifier } = await issuer(t, { refreshAfter: 0.05, keysLive: 0.8, coolDown: 0.05 });
  const token = await key.token();
  await verifier.verify(token);
  server.reply = { status: 500, body: "" };
  await wait(200);
  await verifier.verify(token);
  await verifier.verify(await key.token({ jti: "another" }));
  await assert.rejects(verifier.verify(await other.token()), AuthUnavailable); // it may be a new key
  await wait(800);
  await assert.rejects(verifier.verify(token), AuthUnavailable);
  server.reply = publish(key.jwk);
  await wait(100);
  await verifier.verify(token);
});

test("a removed key is refused after the refresh, cached tokens too", async (t) => {
  const { key, other, server, verifier } = await issuer(t, { refreshAfter: 0.05, coolDown: 0.05 });
  const token = await key.token();
  await verifier.verify(token);
  server.reply = publish(other.jwk);
  await wait(100);
  await verifier.verify(token); // starts the refresh
  await wait(100);
  await assert.rejects(verifier.verify(token), TokenRejected);
});

test("a slow issuer, no usable key and a response too large are an outage", async (t) => {
  const { key, server, verifier } = await issuer(t, { timeout: 0.2, coolDown: 0 });
  const token = await key.token();
  const weak = { kty: "RSA", n: Buffer.alloc(128, 255).toString("base64url"), e: "AQAB", kid: "one" };
  for (const reply of [
    { status: 200, body: "{}", wait: 1000 },
    publish(),
    publish(weak),
    publish({ ...key.jwk, d: "AAAA" }),
    publish({ ...key.jwk, use: "enc" }),
    publish({ ...key.jwk, x: key.jwk.y }),
    { status: 200, body: "x".repeat(300_000) },
    { status: 302, body: "" },
    { status: 200, body: "null" },
  ]) {
    server.reply = reply;
    await assert.rejects(verifier.verify(token), AuthUnavailable, JSON.stringify(reply).slice(0, 80));
  }
  server.reply = publish(key.jwk);
  await verifier.verify(token);
});
