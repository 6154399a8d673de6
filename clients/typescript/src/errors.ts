/**
 * Authentication and authorization errors, with a status, a code and a public text.
 *
 * The public text (`detail`) is vague; `reason` is for the log (RFC 6750 section 3.1, RFC 9457).
 */

const SCOPE = /^[\x21\x23-\x5b\x5d-\x7e]+$/; // RFC 6749 section 3.3: allowed in a quoted string

/** The base class. It never contains a credential. */
export class AuthError extends Error {
  readonly status: number = 401;
  readonly code: string;
  readonly detail: string;
  readonly reason: string;

  constructor(reason = "", { code = "unauthenticated", detail = "Unauthorized" } = {}) {
    super(reason || detail);
    this.name = new.target.name;
    this.code = code;
    this.detail = detail;
    this.reason = reason || detail;
  }

  /** The response headers of this error. */
  get headers(): Record<string, string> {
    return {};
  }
}

/** The route requires authentication, and the request has no credential. */
export class NoCredential extends AuthError {
  override get headers(): Record<string, string> {
    return { "WWW-Authenticate": "Bearer" };
  }
}

/** The presented credential is invalid. */
export class TokenRejected extends AuthError {
  constructor(reason = "", { code = "token_invalid", detail = "Invalid token" } = {}) {
    super(reason, { code, detail });
  }

  override get headers(): Record<string, string> {
    return { "WWW-Authenticate": 'Bearer error="invalid_token"' };
  }
}

/** Not a JWT of this issuer: it can only be verified online. */
export class NotOurs extends TokenRejected {}

/** The token has expired. */
export class TokenExpired extends TokenRejected {
  constructor(reason = "") {
    super(reason, { code: "token_expired", detail: "Token expired" });
  }
}

/** A token of `idp dev`, and the verifier does not allow development tokens. */
export class DevelopmentToken extends TokenRejected {
  constructor(reason = "") {
    const detail =
      "This token was made by `idp dev`, and this service does not take those (allowDevelopment: true would).";
    super(reason, { code: "development_token", detail });
  }
}

/** The caller lacks a scope. */
export class InsufficientScopes extends AuthError {
  override readonly status = 403;

  constructor(
    readonly required: readonly string[],
    reason = "",
  ) {
    const which = required.length > 0 ? `. Required: ${required.join(", ")}` : "";
    super(reason, { code: "insufficient_scopes", detail: `Insufficient permissions${which}` });
  }

  override get headers(): Record<string, string> {
    const named = this.required.length > 0 && this.required.every((scope) => SCOPE.test(scope));
    const scope = named ? `, scope="${this.required.join(" ")}"` : "";
    return { "WWW-Authenticate": `Bearer error="insufficient_scope"${scope}` };
  }
}

/** The caller lacks a role. */
export class InsufficientRoles extends AuthError {
  override readonly status = 403;

  constructor(
    readonly required: readonly string[],
    reason = "",
  ) {
    const detail = `Insufficient permissions. Required role: ${required.join(", ")}`;
    super(reason, { code: "insufficient_roles", detail });
  }

  override get headers(): Record<string, string> {
    return { "WWW-Authenticate": 'Bearer error="insufficient_scope"' };
  }
}

/** The request has two different credentials. */
export class AmbiguousCredentials extends AuthError {
  override readonly status = 400;

  constructor() {
    const detail = "The request carries two explicit credentials that differ. Send one.";
    super("", { code: "ambiguous_credentials", detail });
  }
}

/** The credential cannot be verified, because the service or its JWKS is unreachable. */
export class AuthUnavailable extends AuthError {
  override readonly status = 503;

  /**
   * @param retryAfter seconds until a retry.
   */
  constructor(
    reason = "",
    readonly retryAfter = 1,
  ) {
    super(reason, { code: "auth_unavailable", detail: "The credential cannot be checked now. Try again shortly." });
  }

  override get headers(): Record<string, string> {
    return { "Retry-After": String(this.retryAfter) };
  }
}
