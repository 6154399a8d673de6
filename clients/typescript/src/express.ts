/**
 * Express 4 and 5 (and Connect): `app.use(authenticate(gate))`, and on a route `requiresScopes("read")`.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Caller } from "./caller.js";
import { AuthError } from "./errors.js";
import type { Gate, Requirements } from "./gate.js";
import { problemResponse } from "./problem.js";
import { acceptedCaller, authenticationOf, begin } from "./requests.js";

type Next = (error?: unknown) => void;
/** A middleware, as Express and Connect call it. */
export type Handler = (request: IncomingMessage, response: ServerResponse, next: Next) => void;

/** Return the middleware that belongs in front of all routes. */
export function authenticate(gate: Gate): Handler {
  return (request, _response, next) => {
    begin(gate, request, (request as { originalUrl?: string }).originalUrl ?? request.url);
    next();
  };
}

/** Return a middleware that requires an authenticated caller. */
export function requiresCaller(): Handler {
  return requires({});
}

/** Return a middleware that requires all of these scopes. */
export function requiresScopes(...scopes: string[]): Handler {
  return requires({ scopes });
}

/** Return a middleware that requires a user with all of these roles, such as `admin`. */
export function requiresRoles(...roles: string[]): Handler {
  return requires({ roles });
}

/** Return a middleware that requires all of these scopes and roles. */
export function requires(requirements: Requirements): Handler {
  return (request, response, next) => {
    const checked = async (): Promise<void> => void (await authenticationOf(request).require(requirements));
    checked().then(
      () => next(),
      (error: unknown) => answerProblem(error, request, response, next),
    );
  };
}

/** Return the caller of a route with a requirement. */
export function callerOf(request: IncomingMessage): Caller {
  return acceptedCaller(request);
}

/**
 * Return the caller, undefined if the request has no credential.
 *
 * @throws AuthError: the credential is invalid; `answerProblem` answers it.
 */
export function optionalCaller(request: IncomingMessage): Promise<Caller | undefined> {
  return authenticationOf(request).caller();
}

/** The error middleware for `AuthError` thrown in a route: `app.use(answerProblem)`, after the routes. */
export function answerProblem(error: unknown, _request: IncomingMessage, response: ServerResponse, next: Next): void {
  if (!(error instanceof AuthError) || response.headersSent) {
    next(error);
    return;
  }
  const { status, headers, body } = problemResponse(error);
  response.writeHead(status, headers).end(body);
}
