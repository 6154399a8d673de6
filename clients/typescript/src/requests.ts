/** The authentication of each request of `node:http`, shared by the adapters. */
import type { IncomingMessage } from "node:http";
import type { Caller } from "./caller.js";
import { Authentication, type Gate } from "./gate.js";

const authentications = new WeakMap<IncomingMessage, Authentication>();

/** Begin the authentication of a request; nothing is verified until a route asks. */
export function begin(gate: Gate, request: IncomingMessage, url: string | undefined): void {
  const path = url?.split("?")[0];
  authentications.set(request, new Authentication(gate, request.rawHeaders, path));
}

/**
 * Return the authentication of a request.
 *
 * @throws Error: the middleware is not in front of this route.
 */
export function authenticationOf(request: IncomingMessage): Authentication {
  const authentication = authentications.get(request);
  if (authentication === undefined) throw new Error("requests are not authenticated: add the middleware of idp-client");
  return authentication;
}

/**
 * Return the caller that a requirement of the route has accepted.
 *
 * @throws Error: the route has no requirement.
 */
export function acceptedCaller(request: IncomingMessage): Caller {
  const caller = authenticationOf(request).accepted;
  if (caller === undefined) throw new Error("this route requires no caller: add requiresCaller() or requiresScopes(…)");
  return caller;
}
