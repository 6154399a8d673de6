// The tokens that the Python client is tested with, too; IDP_VECTORS names the file with them.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { JwksCache, NotOurs, OfflineVerifier, TokenRejected } from "idp-client";
import { FakeServer } from "./support.js";

interface Vector {
  name: string;
  token: string;
  code: string | null;
  subject: string | null;
  foreign: boolean;
}
interface Group {
  name: string;
  issuer: string;
  audience: string;
  leeway: number;
  now: number;
  jwks: unknown;
  tokens: Vector[];
}

const file = process.env["IDP_VECTORS"];
const groups: Group[] = file === undefined ? [] : (JSON.parse(readFileSync(file, "utf-8")) as Group[]);

for (const { name, issuer, audience, leeway, now, jwks, tokens } of groups) {
  test(name, async (t) => {
    const server = await FakeServer.with(jwks);
    const keys = new JwksCache(server.url);
    const verifier = new OfflineVerifier(issuer, { audience, keys, leeway, clock: () => now });
    for (const vector of tokens) {
      await t.test(vector.name, () => (vector.code === null ? accepted(verifier, vector) : refused(verifier, vector)));
    }
    server.close();
  });
}

test("there are vectors", { skip: file === undefined && "IDP_VECTORS is not set" }, () => {
  assert.ok(groups.flatMap(({ tokens }) => tokens).length > 300);
});

async function accepted(verifier: OfflineVerifier, { token, subject }: Vector): Promise<void> {
  for (const _ of ["verified", "cached"]) {
    const caller = await verifier.verify(token);
    assert.equal(caller.user?.id ?? caller.name, subject);
  }
}

async function refused(verifier: OfflineVerifier, { token, code, foreign }: Vector): Promise<void> {
  await assert.rejects(verifier.verify(token), (error: unknown) => {
    assert.ok(error instanceof TokenRejected, String(error));
    assert.equal(error.code, code, error.reason);
    assert.equal(error.status, 401);
    assert.ok(!(error instanceof NotOurs) || foreign, `it is ours: ${error.reason}`);
    return true;
  });
}
