/** Verified tokens, cached by their SHA-256 until they expire or their key is removed. */
import { createHash } from "node:crypto";
import type { Caller } from "./caller.js";
import type { VerificationKey } from "./keys.js";

export const REMEMBERED_TOKENS = 10_000; // the oldest is evicted first

interface Entry {
  readonly caller: Caller;
  readonly kid: string;
  readonly key: VerificationKey;
  /** Seconds since 1970. */
  readonly goodUntil: number;
}

/** Credentials themselves are not kept in memory. */
export class VerifiedTokens {
  readonly #entries = new Map<string, Entry>();

  /** Return the caller of a token that is still valid and whose key `ready` still returns. */
  find(token: string, now: number, ready: (kid: string) => VerificationKey | undefined): Caller | undefined {
    const digest = digestOf(token);
    const entry = this.#entries.get(digest);
    if (entry === undefined) return undefined;
    if (now < entry.goodUntil && ready(entry.kid) === entry.key) return entry.caller;
    this.#entries.delete(digest);
    return undefined;
  }

  /** Remember a verified token, and return its caller. */
  add(token: string, entry: Entry): Caller {
    const oldest = this.#entries.size >= REMEMBERED_TOKENS ? this.#entries.keys().next().value : undefined;
    if (oldest !== undefined) this.#entries.delete(oldest);
    this.#entries.set(digestOf(token), entry);
    return entry.caller;
  }
}

function digestOf(token: string): string {
  return createHash("sha256").update(token).digest("base64");
}
