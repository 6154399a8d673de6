// `tests/vectors/json_objects.json` of idp; IDP_JSON_VECTORS names the file.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

interface Vector {
  name: string;
  verdict: "read" | "refused";
  text?: string;
  hex?: string;
}
const module = new URL("../dist/json-object.js", import.meta.url).href;
const { Malformed, readObject } = (await import(module)) as {
  Malformed: new () => Error;
  readObject: (raw: Uint8Array) => unknown;
};
const file = process.env["IDP_JSON_VECTORS"];
const vectors: Vector[] = file === undefined ? [] : (JSON.parse(readFileSync(file, "utf-8")) as Vector[]);

for (const { name, verdict, text, hex } of vectors) {
  test(name, () => {
    const raw = text === undefined ? Buffer.from(hex ?? "", "hex") : Buffer.from(text);
    if (verdict === "read") assert.deepEqual(readObject(raw), JSON.parse(raw.toString()));
    else assert.throws(() => readObject(raw), Malformed);
  });
}
