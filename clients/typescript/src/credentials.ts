/** Finds the credential of a request: at most one, in `Authorization: Bearer` or `X-API-Key`. */
import { AmbiguousCredentials, TokenRejected } from "./errors.js";

export const MAX_LENGTH = 8192; // characters; tokens of idp have about 700
const FOREIGN_SCHEME = "\0"; // marks a credential of another scheme, so that it is present but never valid
const PLAUSIBLE = new RegExp(`^[\\x21-\\x7e]{1,${MAX_LENGTH}}$`);

/** Names and values by turns, as `rawHeaders` of `node:http`: it keeps repeated headers, `headers` does not. */
export type RawHeaders = readonly string[];

/**
 * Return the credential as sent, undefined if there is none. An empty text is an invalid credential.
 *
 * @throws AmbiguousCredentials: there are two different credentials.
 */
export function findToken(headers: RawHeaders): string | undefined {
  const explicit = new Set<string>();
  for (let at = 0; at + 1 < headers.length; at += 2) {
    const name = headers[at]?.toLowerCase();
    const value = (headers[at + 1] ?? "").trim();
    if (name === "authorization") explicit.add(bearer(value));
    else if (name === "x-api-key") explicit.add(value);
  }
  if (explicit.size > 1) throw new AmbiguousCredentials();
  return [...explicit][0];
}

/**
 * Return the credential of a request, undefined if there is none.
 *
 * @throws AmbiguousCredentials: there are two different credentials.
 * @throws TokenRejected: it cannot be a credential.
 */
export function presentedToken(headers: RawHeaders): string | undefined {
  const token = findToken(headers);
  if (token !== undefined && !isPlausible(token)) {
    throw new TokenRejected("empty, too long, or not a Bearer token");
  }
  return token;
}

/** Whether a text can be a credential: visible ASCII, 1 to MAX_LENGTH characters. */
export function isPlausible(token: string): boolean {
  return PLAUSIBLE.test(token);
}

function bearer(value: string): string {
  const space = value.indexOf(" ");
  const scheme = space === -1 ? value : value.slice(0, space);
  if (scheme.toLowerCase() !== "bearer") return FOREIGN_SCHEME + value;
  return space === -1 ? "" : value.slice(space + 1).trim();
}
