/**
 * Fastify 4 and 5: `app.register(authentication, { gate })`, and on a route `{ onRequest: requiresScopes("read") }`.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { Caller } from "./caller.js";
import { AuthError } from "./errors.js";
import type { Gate, Requirements } from "./gate.js";
import { problemResponse } from "./problem.js";
import { acceptedCaller, authenticationOf, begin } from "./requests.js";

/** A hook of a route: `onRequest` or a later one. */
export type Hook = (request: FastifyRequest, reply: FastifyReply) => Promise<unknown>;

/** The plugin, for the whole application. */
export async function authentication(app: FastifyInstance, { gate }: { gate: Gate }): Promise<void> {
  app.addHook("onRequest", async (request) => begin(gate, request.raw, request.originalUrl));
}
// As fastify-plugin does: the hook applies to all routes, not only to those of this plugin.
Object.assign(authentication, {
  [Symbol.for("skip-override")]: true,
  [Symbol.for("fastify.display-name")]: "idp-client",
});

/** Return a hook that requires an authenticated caller. */
export function requiresCaller(): Hook {
  return requires({});
}

/** Return a hook that requires all of these scopes. */
export function requiresScopes(...scopes: string[]): Hook {
  return requires({ scopes });
}

/** Return a hook that requires a user with all of these roles, such as `admin`. */
export function requiresRoles(...roles: string[]): Hook {
  return requires({ roles });
}

/** Return a hook that requires all of these scopes and roles. */
export function requires(requirements: Requirements): Hook {
  return async (request, reply) => {
    try {
      await authenticationOf(request.raw).require(requirements);
      return undefined;
    } catch (error) {
      if (error instanceof AuthError) return sendProblem(reply, error);
      throw error;
    }
  };
}

/** Return the caller of a route with a requirement. */
export function callerOf(request: FastifyRequest): Caller {
  return acceptedCaller(request.raw);
}

/**
 * Return the caller, undefined if the request has no credential.
 *
 * @throws AuthError: the credential is invalid; answer it with `sendProblem`.
 */
export function optionalCaller(request: FastifyRequest): Promise<Caller | undefined> {
  return authenticationOf(request.raw).caller();
}

/** Answer an error. */
export function sendProblem(reply: FastifyReply, error: AuthError): FastifyReply {
  const { status, headers, body } = problemResponse(error);
  return reply.code(status).headers(headers).send(body);
}
