/** Validates the claims of an access token (RFC 9068 sections 2.2 and 4, RFC 8725; SEC-23 to SEC-25). */
import type { Caller } from "./caller.js";
import { DevelopmentToken, NotOurs, TokenExpired, TokenRejected } from "./errors.js";
import { Malformed, readObject, type JsonObject } from "./json-object.js";

export const MAX_LEEWAY = 60; // seconds (SEC-23)
const LATEST = 253_402_300_799; // 9999-12-31
const MAX_TEXT = 512; // characters

/** The tokens that a service accepts. */
export interface Policy {
  readonly issuer: string;
  readonly audience: string;
  readonly leeway: number;
  readonly allowDevelopment: boolean;
}

/** The claims that are used; the rest is in `Caller.claims`. */
export interface AccessToken {
  iat: number;
  exp: number;
  jti: string;
  iss: string;
  aud: string | string[];
  sub: string;
  client_id: string;
  uid?: string;
  nbf?: number;
  scope?: string;
  email?: string | null;
  email_verified?: boolean;
  roles?: string[];
  idp_env?: string;
}

type Check = (value: unknown) => boolean;
const isString: Check = (value) => typeof value === "string";
const isText: Check = (value) => typeof value === "string" && value !== "" && [...value].length <= MAX_TEXT;
const isDate: Check = (value) => typeof value === "number" && value >= 0 && value <= LATEST;
const isStrings: Check = (value) => Array.isArray(value) && value.every(isString);

const REQUIRED: Record<string, Check> = {
  iat: isDate,
  exp: isDate,
  jti: isText,
  aud: (value) => isString(value) || isStrings(value),
  sub: isText,
  client_id: isText,
};
const OPTIONAL: Record<string, Check> = {
  sid: isString,
  auth_time: Number.isInteger,
  amr: isStrings,
  acr: isString,
  idp_env: isString,
  uid: isText,
  scope: isString,
  email: (value) => value === null || isString(value),
  email_verified: (value) => typeof value === "boolean",
  roles: isStrings,
  nbf: isDate,
};

/**
 * Return the unverified claims of a payload with this issuer.
 *
 * @throws NotOurs: `iss` is another issuer or missing.
 * @throws TokenRejected: the JSON is ambiguous, or a claim is missing or invalid.
 */
export function readClaims(payload: Uint8Array, issuer: string): AccessToken {
  const members = objectIn(payload);
  if (valueOf(members, "iss") !== issuer) throw new NotOurs("another issuer");
  for (const [name, isValid] of Object.entries(REQUIRED)) {
    if (!isValid(valueOf(members, name))) throw new TokenRejected(`${name} is missing or invalid`);
  }
  for (const [name, isValid] of Object.entries(OPTIONAL)) {
    if (Object.hasOwn(members, name) && !isValid(members[name])) throw new TokenRejected(`${name} is invalid`);
  }
  return members as unknown as AccessToken;
}

/**
 * Return until when (seconds since 1970) a verified token is accepted.
 *
 * @throws TokenRejected: another audience, or contradictory claims.
 * @throws TokenExpired: the token has expired.
 * @throws DevelopmentToken: a token of `idp dev`, which the policy does not allow.
 */
export function checkClaims(token: AccessToken, policy: Policy, now: number): number {
  const audiences = typeof token.aud === "string" ? [token.aud] : token.aud;
  if (!audiences.includes(policy.audience)) throw new TokenRejected("another audience");
  if ((token.uid !== undefined && token.uid !== token.sub) || (token.sub + token.jti).includes("\0")) {
    throw new TokenRejected("sub and uid differ, or sub or jti contains a null character");
  }
  if (token.idp_env !== undefined && !policy.allowDevelopment) throw new DevelopmentToken("token of `idp dev`");
  return checkTimes(token, now, policy.leeway);
}

/** Return the caller of a validated token. */
export function callerOfClaims(token: AccessToken): Caller {
  const { uid, sub, email, email_verified, roles } = token;
  const person = { id: sub, email: email || undefined, emailVerified: email_verified === true, roles };
  const user = uid === undefined ? undefined : { ...person, name: undefined, teams: undefined, domains: undefined };
  return {
    kind: user === undefined ? "client" : "user",
    scopes: (token.scope ?? "").split(/\s+/).filter(Boolean),
    source: "offline",
    tokenId: token.jti,
    name: user === undefined ? token.client_id : undefined,
    user,
    expires: token.exp,
    claims: token as unknown as Record<string, unknown>,
  };
}

function checkTimes({ iat, exp, nbf }: AccessToken, now: number, leeway: number): number {
  if (exp + leeway <= now) throw new TokenExpired("expired");
  if (iat > now + leeway || iat >= exp) throw new TokenRejected("iat is in the future, or not before exp");
  if (nbf !== undefined && nbf > now + leeway) throw new TokenRejected("nbf is in the future");
  return exp + leeway;
}

function objectIn(payload: Uint8Array): JsonObject {
  try {
    return readObject(payload);
  } catch (error) {
    if (error instanceof Malformed) throw new TokenRejected(error.message);
    throw error;
  }
}

function valueOf(members: JsonObject, name: string): unknown {
  return Object.hasOwn(members, name) ? members[name] : undefined;
}
