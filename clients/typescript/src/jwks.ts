/**
 * A cache of the issuer's JWKS that handles rotation, unknown keys and outages (SEC-22, SEC-30, SEC-31).
 *
 * One fetch runs at a time. Callers wait for it only if there are no usable keys.
 */
import { readBody } from "./body.js";
import { AuthUnavailable, TokenRejected } from "./errors.js";
import { importKey, UnusableKey, type Jwk, type VerificationKey } from "./keys.js";

const MAX_BYTES = 262_144;

/** All in seconds. */
export interface JwksCacheOptions {
  /** The longest wait for a fetch; default 2. */
  timeout?: number;
  /** Until keys are fetched again in the background; a removed key is accepted until then. Default 300. */
  refreshAfter?: number;
  /** How long keys are used while the issuer is unreachable; after that, tokens are not accepted. Default 3600. */
  keysLive?: number;
  /** The minimum between two fetches, also for unknown keys (SEC-22). Default 5. */
  coolDown?: number;
}

/** The cached keys of a JWKS URL, such as https://id.example.com/.well-known/jwks.json. */
export class JwksCache {
  readonly #timeout: number;
  readonly #refreshAfter: number;
  readonly #keysLive: number;
  readonly #coolDown: number;
  #keys = new Map<string, VerificationKey>();
  #fetched = -Infinity;
  #attempted = -Infinity;
  #failure: string | undefined = "not fetched yet";
  #running: Promise<void> | undefined;

  constructor(
    readonly url: string,
    options: JwksCacheOptions = {},
  ) {
    this.#timeout = options.timeout ?? 2;
    this.#refreshAfter = options.refreshAfter ?? 300;
    this.#keysLive = options.keysLive ?? 3600;
    this.#coolDown = options.coolDown ?? 5;
  }

  /** Return a cached key without waiting, undefined if it is unknown; refresh in the background if it is time. */
  ready(kid: string): VerificationKey | undefined {
    const age = seconds() - this.#fetched;
    if (age >= this.#refreshAfter) {
      if (age >= this.#keysLive) return undefined;
      void this.#startFetch();
    }
    return this.#keys.get(kid);
  }

  /**
   * Return the key with this id.
   *
   * @throws TokenRejected: the issuer has no such key.
   * @throws AuthUnavailable: the issuer is unreachable, and no usable key is cached.
   */
  async key(kid: string): Promise<VerificationKey> {
    const key = this.ready(kid);
    if (key !== undefined) return key;
    await this.#startFetch();
    return this.#get(kid);
  }

  #get(kid: string): VerificationKey {
    if (seconds() - this.#fetched >= this.#keysLive) {
      throw new AuthUnavailable(`no keys from ${this.url}: ${this.#failure}`);
    }
    const key = this.#keys.get(kid);
    if (key !== undefined) return key;
    if (this.#failure !== undefined || this.#running !== undefined) {
      throw new AuthUnavailable(`unknown key, and ${this.url} is unreachable: ${this.#failure}`); // it may be a new key
    }
    throw new TokenRejected("signed with an unknown key");
  }

  /** Start a fetch or join the running one; undefined during the cool-down. */
  #startFetch(): Promise<void> | undefined {
    if (this.#running === undefined && seconds() - this.#attempted >= this.#coolDown) {
      this.#attempted = seconds();
      this.#running = this.#fetch();
    }
    return this.#running;
  }

  async #fetch(): Promise<void> {
    try {
      this.#keys = await this.#read(await this.#download());
      this.#fetched = seconds();
      this.#failure = undefined;
    } catch (error) {
      this.#failure = String(error); // on any error, the cached keys are used until `keysLive`
    } finally {
      this.#attempted = seconds();
      this.#running = undefined;
    }
  }

  async #download(): Promise<string> {
    const signal = AbortSignal.timeout(this.#timeout * 1000);
    const answer = await fetch(this.url, { signal, redirect: "manual" });
    if (answer.status !== 200) {
      await answer.body?.cancel();
      throw new Error(`status ${answer.status}`);
    }
    return readBody(answer, MAX_BYTES);
  }

  async #read(text: string): Promise<Map<string, VerificationKey>> {
    const { keys: members } = JSON.parse(text) as { keys: Jwk[] };
    const keys = new Map<string, VerificationKey>();
    for (const jwk of members) {
      const kid = jwk["kid"];
      if (typeof kid !== "string" || keys.has(kid)) continue;
      const known = this.#keys.get(kid);
      try {
        // Keep the object of an unchanged key: verified tokens refer to it.
        keys.set(kid, known?.jwk === JSON.stringify(jwk) ? known : await importKey(jwk));
      } catch (error) {
        if (!(error instanceof UnusableKey)) throw error;
      }
    }
    if (keys.size === 0) throw new Error("no usable key");
    return keys;
  }
}

function seconds(): number {
  return performance.now() / 1000;
}
