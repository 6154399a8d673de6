// Times and cached tokens of the offline verifier (SEC-23).
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { JwksCache, OfflineVerifier, TokenExpired, TokenRejected } from "idp-client";
import { FakeServer, ISSUER, newKey } from "./support.js";

async function verifierAt(t: TestContext, time: { now: number }, leeway = 10) {
  const key = await newKey("one");
  const server = await FakeServer.with({ keys: [key.jwk] });
  t.after(() => server.close());
  const options = { keys: new JwksCache(server.url), leeway, clock: () => time.now };
  return { key, verifier: new OfflineVerifier(ISSUER, options) };
}

test("a token is good until exp and the leeway, cached or not", async (t) => {
  const time = { now: 1_000_000 };
  const { key, verifier } = await verifierAt(t, time);
  const token = await key.token({ iat: 1_000_000, exp: 1_000_600 });
  for (const now of [999_990, 1_000_000, 1_000_609]) {
    time.now = now;
    await verifier.verify(token);
  }
  time.now = 1_000_610;
  await assert.rejects(verifier.verify(token), TokenExpired);
});

test("clocks may differ by the leeway and no more", async (t) => {
  const time = { now: 1_000_000 };
  const { key, verifier } = await verifierAt(t, time, 5);
  await verifier.verify(await key.token({ iat: 1_000_005, nbf: 1_000_005, exp: 1_000_600 }));
  for (const claims of [{ iat: 1_000_006 }, { iat: 999_000, nbf: 1_000_006 }]) {
    await assert.rejects(verifier.verify(await key.token({ exp: 1_000_600, ...claims })), TokenRejected);
  }
});
