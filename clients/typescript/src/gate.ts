/** Authenticates requests: a request has one of four outcomes. */
import { checkRoles, checkScopes, type Caller } from "./caller.js";
import { findToken, presentedToken, type RawHeaders } from "./credentials.js";
import { AuthError, AuthUnavailable, NoCredential, NotOurs } from "./errors.js";
import { Introspector } from "./introspector.js";
import { JwksCache } from "./jwks.js";
import { callerOfInfo } from "./token-info.js";
import { OfflineVerifier } from "./verifier.js";

/**
 * - absent: the request has no credential.
 * - authenticated: the credential is valid.
 * - rejected: it is invalid (401), or there are two different ones (400). The caller does not become anonymous.
 * - unavailable: it cannot be verified now (503).
 */
export type Outcome =
  | { readonly kind: "absent" }
  | { readonly kind: "authenticated"; readonly caller: Caller }
  | { readonly kind: "rejected"; readonly error: AuthError }
  | { readonly kind: "unavailable"; readonly error: AuthUnavailable };

export interface GateOptions {
  /** Verifies JWTs of one issuer with its JWKS. */
  offline?: OfflineVerifier;
  /** Verifies credentials with the service. */
  online?: Introspector;
  /** Of the calling service, for idp's log. */
  serviceName?: string;
}

export interface GateAtOptions {
  /** IDP_PUBLIC_URL of idp, if it differs from the URL of the service. */
  issuer?: string | undefined;
  /** `aud` of access tokens; default: the issuer. */
  audience?: string | undefined;
  serviceName?: string | undefined;
  /** Accept tokens of `idp dev`; only for a developer's machine. */
  allowDevelopment?: boolean | undefined;
}

/**
 * With both options, JWTs of the issuer are verified offline, and other credentials (API keys, service tokens) online.
 * With `online` only, every request is verified online, so revocations apply immediately. With `offline` only, only
 * JWTs are accepted.
 */
export class Gate {
  readonly #offline: OfflineVerifier | undefined;
  readonly #online: Introspector | undefined;
  readonly #serviceName: string | undefined;

  /** @throws TypeError: neither `offline` nor `online`, so no credential could ever be accepted. */
  constructor({ offline, online, serviceName }: GateOptions) {
    if (offline === undefined && online === undefined) throw new TypeError("a gate requires offline, online, or both");
    this.#offline = offline;
    this.#online = online;
    this.#serviceName = serviceName;
  }

  /**
   * Return a gate that verifies offline and online.
   *
   * @param authServiceUrl of idp, as this service reaches it, such as http://auth-service:8000.
   */
  static at(authServiceUrl: string, options: GateAtOptions = {}): Gate {
    const url = authServiceUrl.replace(/\/+$/, "");
    const { issuer = url, audience = issuer, serviceName, allowDevelopment = false } = options;
    const keys = new JwksCache(`${url}/.well-known/jwks.json`);
    const offline = new OfflineVerifier(issuer, { audience, keys, allowDevelopment });
    return new Gate({ offline, online: new Introspector(url), ...(serviceName === undefined ? {} : { serviceName }) });
  }

  /**
   * Return the outcome for a request.
   *
   * @param action such as the path, for idp's log; sent with online verification.
   */
  async decide(headers: RawHeaders, action?: string): Promise<Outcome> {
    try {
      const token = presentedToken(headers);
      if (token === undefined) return { kind: "absent" };
      return { kind: "authenticated", caller: await this.#caller(token, action) };
    } catch (error) {
      if (error instanceof AuthUnavailable) return { kind: "unavailable", error };
      if (error instanceof AuthError) return { kind: "rejected", error };
      throw error;
    }
  }

  /**
   * Return the caller with roles, which are looked up online if the token contains none.
   *
   * @throws AuthError: the service rejects the credential, or is unreachable.
   */
  async withRoles(caller: Caller, headers: RawHeaders, action?: string): Promise<Caller> {
    if (this.#online === undefined || caller.user === undefined || caller.user.roles !== undefined) return caller;
    const token = findToken(headers);
    return token === undefined ? caller : this.#validate(this.#online, token, action);
  }

  async #caller(token: string, action: string | undefined): Promise<Caller> {
    const online = this.#online;
    if (this.#offline === undefined) return this.#validate(online as Introspector, token, action);
    try {
      return await this.#offline.verify(token);
    } catch (error) {
      if (online === undefined || !(error instanceof NotOurs)) throw error;
      return this.#validate(online, token, action);
    }
  }

  async #validate(online: Introspector, token: string, actionName: string | undefined): Promise<Caller> {
    return callerOfInfo(await online.validate(token, { serviceName: this.#serviceName, actionName }));
  }
}

/** What a route requires; empty for any authenticated caller. */
export interface Requirements {
  readonly scopes?: readonly string[];
  readonly roles?: readonly string[];
}

/**
 * The authentication of a request, done once, on first use.
 *
 * A route that does not use it is public and ignores credentials, even invalid ones.
 */
export class Authentication {
  #outcome: Promise<Outcome> | undefined;
  #required: Caller | undefined;

  constructor(
    private readonly gate: Gate,
    private readonly headers: RawHeaders,
    private readonly action?: string,
  ) {}

  /** Return the outcome. */
  outcome(): Promise<Outcome> {
    this.#outcome ??= this.gate.decide(this.headers, this.action);
    return this.#outcome;
  }

  /** The caller that a requirement of the route has accepted; undefined on a public route. */
  get accepted(): Caller | undefined {
    return this.#required;
  }

  /**
   * Return the caller, undefined if there is no credential, for routes with optional authentication.
   *
   * @throws AuthError: the credential is invalid (401, 400), or cannot be verified now (503).
   */
  async caller(): Promise<Caller | undefined> {
    const outcome = await this.outcome();
    if (outcome.kind === "absent") return undefined;
    if (outcome.kind === "authenticated") return outcome.caller;
    throw outcome.error;
  }

  /**
   * Return the caller, who must have all of these scopes and roles.
   *
   * @throws NoCredential: the request has no credential.
   * @throws InsufficientScopes: a scope is missing.
   * @throws InsufficientRoles: a role is missing, or the caller is a service.
   * @throws AuthError: as for `caller`.
   */
  async require({ scopes = [], roles = [] }: Requirements = {}): Promise<Caller> {
    let caller = await this.caller();
    if (caller === undefined) throw new NoCredential();
    checkScopes(caller, scopes);
    if (roles.length > 0) {
      caller = await this.gate.withRoles(caller, this.headers, this.action);
      checkRoles(caller, roles);
      this.#outcome = Promise.resolve({ kind: "authenticated", caller });
    }
    this.#required = caller;
    return caller;
  }
}
