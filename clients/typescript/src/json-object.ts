/**
 * Parses JSON objects strictly: no duplicate members, no infinite numbers, limited depth (SEC-27, SEC-28).
 *
 * `tests/vectors/json_objects.json` of idp has the accepted and refused cases.
 */

const MAX_DEPTH = 8;
const STRINGS_AND_SIGNS = /"(?:[^"\\]|\\.)*"|[{}[\]:]/g;
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export type JsonObject = Record<string, unknown>;

/** The input is invalid; the message says why. */
export class Malformed extends Error {}

/**
 * Return the members of a JSON object.
 *
 * @throws Malformed: it is not a JSON object, or parsers could interpret it differently.
 */
export function readObject(raw: Uint8Array): JsonObject {
  let value: unknown;
  let text: string;
  try {
    text = utf8.decode(raw);
    value = JSON.parse(text);
  } catch {
    throw new Malformed("not JSON");
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Malformed("not an object");
  checkText(text);
  checkNumbers(value);
  return value as JsonObject;
}

/** Check depth, member names and strings of a text that is known to be JSON. */
function checkText(text: string): void {
  const open: Set<string>[] = [];
  let last = "";
  for (const [sign] of text.matchAll(STRINGS_AND_SIGNS)) {
    if (sign === "{" || sign === "[") {
      if (open.push(new Set()) > MAX_DEPTH) throw new Malformed(`nested deeper than ${MAX_DEPTH}`);
    } else if (sign === "}" || sign === "]") {
      open.pop();
    } else if (sign === ":") {
      const names = open.at(-1);
      if (names?.has(last)) throw new Malformed("duplicate member");
      names?.add(last);
    } else {
      last = JSON.parse(sign) as string;
      if (!last.isWellFormed()) throw new Malformed("half of a surrogate pair");
    }
  }
}

function checkNumbers(value: unknown): void {
  if (typeof value === "number" && !Number.isFinite(value)) throw new Malformed("a number beyond a float");
  if (typeof value === "object" && value !== null) Object.values(value).forEach(checkNumbers);
}
