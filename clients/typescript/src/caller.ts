/** The caller of a request. */
import { InsufficientRoles, InsufficientScopes } from "./errors.js";

/** A team of the user; a missing role means member. */
export interface Team {
  readonly id: string;
  readonly name: string;
  readonly role?: string | null;
}

/**
 * The user of a caller. A token contains the roles at the time of signing; undefined means unknown. Name, teams and
 * domains are known only after online verification.
 */
export interface User {
  readonly id: string;
  readonly email: string | undefined;
  readonly emailVerified: boolean;
  readonly name: string | undefined;
  readonly roles: readonly string[] | undefined;
  readonly teams: readonly Team[] | undefined;
  readonly domains: readonly Record<string, unknown>[] | undefined;
}

/** An authenticated caller. */
export interface Caller {
  /** "user", "api_key", "service_token", or "client" for a token of an OAuth client itself. */
  readonly kind: string;
  /** Of the credential (RFC 6749 section 3.3). */
  readonly scopes: readonly string[];
  /** "offline" if verified with the JWKS, "online" if verified by the service. */
  readonly source: "offline" | "online";
  /** The credential's id, for logs. */
  readonly tokenId: string | undefined;
  /** Of a service's credential. */
  readonly name: string | undefined;
  /** Undefined for a service. */
  readonly user: User | undefined;
  /** Expiry of the credential, in seconds since 1970; undefined for never. */
  readonly expires: number | undefined;
  /** All claims of the token, if verified offline. */
  readonly claims: Readonly<Record<string, unknown>>;
}

/**
 * Check that a caller has all of these scopes; no scope implies another, not even `admin` (S2-19).
 *
 * @throws InsufficientScopes: a scope is missing.
 */
export function checkScopes(caller: Caller, required: readonly string[]): void {
  const missing = required.filter((scope) => !caller.scopes.includes(scope));
  if (missing.length > 0) throw new InsufficientScopes(required, `missing scopes: ${missing.join(", ")}`);
}

/**
 * Check that a caller is a user with all of these roles; no role implies another, not even `admin`.
 *
 * @throws InsufficientRoles: a role is missing, the caller is a service or an API key, or the roles are unknown.
 */
export function checkRoles(caller: Caller, required: readonly string[]): void {
  if (required.length === 0) return;
  const { user } = caller;
  if (user === undefined) throw new InsufficientRoles(required, "a service has no roles");
  if (caller.kind === "api_key") {
    throw new InsufficientRoles(required, "an API key has scopes, but not the roles of its owner");
  }
  if (user.roles === undefined) {
    throw new InsufficientRoles(required, "the token contains no roles, and the gate has no online client");
  }
  const missing = required.filter((role) => !user.roles?.includes(role));
  if (missing.length > 0) throw new InsufficientRoles(required, `missing roles: ${missing.join(", ")}`);
}
