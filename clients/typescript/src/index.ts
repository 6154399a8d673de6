/**
 * Authenticates callers of a service: verifies the access tokens and API keys that idp issues.
 *
 * Adapters: `idp-client/express` and `idp-client/fastify`. The same rules as the Python package `idp-client`.
 */
export type { Caller, Team, User } from "./caller.js";
export { checkRoles, checkScopes } from "./caller.js";
export {
  AmbiguousCredentials,
  AuthError,
  AuthUnavailable,
  DevelopmentToken,
  InsufficientRoles,
  InsufficientScopes,
  NoCredential,
  NotOurs,
  TokenExpired,
  TokenRejected,
} from "./errors.js";
export { Authentication, Gate } from "./gate.js";
export type { GateAtOptions, GateOptions, Outcome, Requirements } from "./gate.js";
export { Introspector } from "./introspector.js";
export type { Question } from "./introspector.js";
export { JwksCache } from "./jwks.js";
export type { JwksCacheOptions } from "./jwks.js";
export { problemResponse } from "./problem.js";
export type { ProblemResponse } from "./problem.js";
export type { TokenInfo } from "./token-info.js";
export { OfflineVerifier } from "./verifier.js";
export type { OfflineVerifierOptions } from "./verifier.js";
