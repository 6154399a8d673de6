/** The service's verdict on a credential, as a caller or an error (S2-17, S2-18, C-01). */
import type { Caller, Team, User } from "./caller.js";
import { InsufficientScopes, TokenExpired, TokenRejected, type AuthError } from "./errors.js";
import type { JsonObject } from "./json-object.js";

const TEXTS: Record<string, string> = { token_revoked: "Token has been revoked", token_not_found: "Invalid token" };

/** The service's verdict on a credential; unknown members are ignored. */
export interface TokenInfo {
  readonly valid: boolean;
  readonly scopes: readonly string[];
  readonly tokenId: string | undefined;
  readonly name: string | undefined;
  /** "user", "api_key" or "service_token", undefined if it is not valid. */
  readonly kind: string | undefined;
  readonly user: User | undefined;
  /** Seconds since 1970. */
  readonly expires: number | undefined;
  /**
   * `token_not_found`, `token_revoked`, `token_expired`, `insufficient_scopes`, `token_invalid` or `user_inactive`;
   * undefined if it is valid.
   */
  readonly error: string | undefined;
  readonly detail: string | undefined;
}

/**
 * Return the verdict in a response.
 *
 * @throws TypeError: it is none.
 */
export function readTokenInfo(json: unknown): TokenInfo {
  const members = object(json);
  const { valid, scopes = [], user, expires_at } = members;
  if (typeof valid !== "boolean") throw new TypeError("valid is missing");
  const expires = text(expires_at);
  return {
    valid,
    scopes: texts(scopes),
    tokenId: text(members["token_id"]),
    name: text(members["name"]),
    kind: text(members["kind"]),
    user: user == null ? undefined : userIn(object(user)),
    expires: expires === undefined ? undefined : seconds(expires),
    error: text(members["error"]),
    detail: text(members["detail"]),
  };
}

/** Return the error for an invalid verdict: 403 for missing scopes, 401 otherwise (S2-18). */
export function errorOf(info: TokenInfo, requiredScopes: readonly string[] = []): AuthError {
  const { error = "token_invalid", detail: reason = "" } = info;
  if (error === "insufficient_scopes") return new InsufficientScopes(requiredScopes, reason);
  if (error === "token_expired") return new TokenExpired(reason);
  const detail = Object.hasOwn(TEXTS, error) ? (TEXTS[error] as string) : "Authentication failed";
  return new TokenRejected(reason, { code: error, detail });
}

/**
 * Return the caller of a verdict.
 *
 * @throws AuthError: the credential is not valid.
 */
export function callerOfInfo(info: TokenInfo): Caller {
  if (!info.valid) throw errorOf(info);
  const { kind = "service_token", scopes, tokenId, name, user, expires } = info;
  return { kind, scopes, source: "online", tokenId, name, user, expires, claims: {} };
}

function userIn(user: JsonObject): User {
  const id = text(user["id"]);
  if (id === undefined) throw new TypeError("a user without an id");
  const { roles, teams, domains } = user;
  return {
    id,
    email: text(user["email"]),
    emailVerified: user["email_verified"] === true,
    name: text(user["name"]),
    roles: roles == null ? undefined : texts(roles),
    teams: teams == null ? undefined : (list(teams) as Team[]),
    domains: domains == null ? undefined : (list(domains) as JsonObject[]),
  };
}

function object(value: unknown): JsonObject {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new TypeError("not an object");
  return value as JsonObject;
}

function list(value: unknown): unknown[] {
  if (!Array.isArray(value)) throw new TypeError("not a list");
  return value;
}

function texts(value: unknown): string[] {
  const values = list(value);
  if (!values.every((member) => typeof member === "string")) throw new TypeError("not a list of texts");
  return values;
}

function text(value: unknown): string | undefined {
  if (value == null) return undefined;
  if (typeof value !== "string") throw new TypeError("not a text");
  return value;
}

function seconds(date: string): number {
  const milliseconds = Date.parse(date);
  if (Number.isNaN(milliseconds)) throw new TypeError("not a date");
  return milliseconds / 1000;
}
