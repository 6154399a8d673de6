/**
 * A strict parser of compact JWS (RFC 7515, RFC 8725; SEC-26 to SEC-28). Nothing is verified here.
 *
 * Only canonical base64url is accepted; the rules for the JSON are in `json-object`.
 */
import { Malformed, readObject } from "./json-object.js";

// Members that change the meaning of the token; they are not supported and therefore refused.
const REFUSED_MEMBERS = ["crit", "b64", "zip", "enc"];

/** Not a compact JWS. */
export class NotThreeParts extends Malformed {}

/** A parsed token with an unverified signature. `jwk`, `jku`, `x5u` and `x5c` are ignored (SEC-21). */
export interface UnverifiedJwt {
  readonly alg: unknown;
  readonly kid: unknown;
  readonly typ: unknown;
  readonly payload: Uint8Array;
}

/**
 * Parse a token of at most MAX_LENGTH characters.
 *
 * @throws NotThreeParts: it is not a compact JWS.
 * @throws Malformed: a part is not canonical, or the header is invalid.
 */
export function parse(token: string): UnverifiedJwt {
  const [first, second, third, ...more] = token.split(".");
  if (first === undefined || second === undefined || third === undefined || more.length > 0) {
    throw new NotThreeParts("not three parts");
  }
  const header = readObject(base64url(first, "header"));
  const refused = REFUSED_MEMBERS.find((name) => Object.hasOwn(header, name));
  if (refused !== undefined) throw new Malformed(`header contains ${refused}`);
  if (/^(application\/)?jwt$/i.test(String(header["cty"] ?? ""))) throw new Malformed("nested token");
  base64url(third, "signature");
  return { alg: header["alg"], kid: header["kid"], typ: header["typ"], payload: base64url(second, "payload") };
}

/** Decode canonical base64url: text that encodes back to itself (RFC 4648 section 3.5). */
export function base64url(encoded: string, where: string): Uint8Array {
  const raw = Buffer.from(encoded, "base64url");
  if (raw.toString("base64url") !== encoded) throw new Malformed(`${where} is not canonical base64url`);
  return raw;
}
