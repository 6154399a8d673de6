/**
 * Offline verification of an issuer's access tokens (RFC 9068 section 4, RFC 8725).
 *
 * A revoked token, or one of a disabled user, is accepted until it expires (30 minutes by default). If that is too
 * long, verify online (`Introspector`).
 */
import type { Caller } from "./caller.js";
import { callerOfClaims, checkClaims, MAX_LEEWAY, readClaims, type AccessToken, type Policy } from "./claims.js";
import { NotThreeParts, parse, type UnverifiedJwt } from "./compact.js";
import { MAX_LENGTH } from "./credentials.js";
import { NotOurs, TokenRejected } from "./errors.js";
import { Malformed } from "./json-object.js";
import { JwksCache } from "./jwks.js";
import { isSignedBy } from "./keys.js";
import { VerifiedTokens } from "./verified-tokens.js";

const ASCII = /^[\x00-\x7f]*$/;

export interface OfflineVerifierOptions {
  /** `aud` must be or contain it; default: the issuer. */
  audience?: string;
  /** Default: the issuer's /.well-known/jwks.json. */
  keys?: JwksCache;
  /** Allowed clock difference in seconds, at most 60; default 10. */
  leeway?: number;
  /** Accept tokens of `idp dev`. Only for a developer's machine: every `idp dev` can issue them. */
  allowDevelopment?: boolean;
  /** Returns the seconds since 1970. */
  clock?: () => number;
}

/** Verifies ES256 and RS256 access tokens (`at+jwt`) with the issuer's public keys. */
export class OfflineVerifier {
  readonly #policy: Policy;
  readonly #keys: JwksCache;
  readonly #clock: () => number;
  readonly #verified = new VerifiedTokens();

  /**
   * @param issuer the exact `iss`; IDP_PUBLIC_URL of idp.
   * @throws RangeError: the leeway exceeds 60 seconds.
   */
  constructor(issuer: string, options: OfflineVerifierOptions = {}) {
    const { audience = issuer, keys, leeway = 10, allowDevelopment = false, clock = () => Date.now() / 1000 } = options;
    if (!(leeway >= 0 && leeway <= MAX_LEEWAY)) throw new RangeError(`leeway must be 0 to ${MAX_LEEWAY} seconds`);
    this.#policy = { issuer, audience, leeway, allowDevelopment };
    this.#keys = keys ?? new JwksCache(`${issuer.replace(/\/+$/, "")}/.well-known/jwks.json`);
    this.#clock = clock;
  }

  /**
   * Verify a token and return its caller.
   *
   * @throws NotOurs: it is not a JWT, or of another issuer.
   * @throws TokenRejected: it is of this issuer and invalid; `reason` says why.
   * @throws TokenExpired: the token has expired.
   * @throws DevelopmentToken: a token of `idp dev`, and `allowDevelopment` is off.
   * @throws AuthUnavailable: its key is unknown and the issuer is unreachable.
   */
  async verify(token: string): Promise<Caller> {
    if (token.length > MAX_LENGTH) throw new TokenRejected(`longer than ${MAX_LENGTH} characters`);
    if (!ASCII.test(token)) throw new TokenRejected("not ASCII");
    const known = this.#verified.find(token, this.#clock(), (kid) => this.#keys.ready(kid));
    if (known !== undefined) return known;

    const jwt = parsed(token);
    const claims = readClaims(jwt.payload, this.#policy.issuer);
    const kid = checkHeader(jwt);
    const key = await this.#keys.key(kid);
    // The key determines the algorithm, not the token (SEC-20).
    if (jwt.alg !== key.algorithm) throw new TokenRejected(`this key signs with ${key.algorithm}`);
    if (!(await isSignedBy(token, key))) throw new TokenRejected("invalid signature");
    const goodUntil = checkClaims(claims, this.#policy, this.#clock());
    return this.#verified.add(token, { caller: frozen(claims), kid, key, goodUntil });
  }
}

function parsed(token: string): UnverifiedJwt {
  try {
    return parse(token);
  } catch (error) {
    if (error instanceof NotThreeParts) throw new NotOurs("not a JWT");
    if (error instanceof Malformed) throw new TokenRejected(error.message);
    throw error;
  }
}

/** Check the type (RFC 9068 section 4), and return the key's id. */
function checkHeader({ kid, typ }: UnverifiedJwt): string {
  const isAccessToken = typeof typ === "string" && /^(application\/)?at\+jwt$/i.test(typ);
  if (!isAccessToken || typeof kid !== "string") throw new TokenRejected("typ must be at+jwt, and kid is required");
  return kid;
}

/** Cached callers are shared by requests, so nobody may change them. */
function frozen(claims: AccessToken): Caller {
  return deepFreeze(callerOfClaims(claims));
}

function deepFreeze<T>(value: T): T {
  if (typeof value === "object" && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    Object.values(value).forEach(deepFreeze);
  }
  return value;
}
