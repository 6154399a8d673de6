// A Fastify service for the tests: PORT, AUTH_SERVICE_URL and IDP_ISSUER say where.
import Fastify from "fastify";
import { AuthError, Gate } from "idp-client";
import {
  authentication,
  callerOf,
  optionalCaller,
  requiresCaller,
  requiresRoles,
  requiresScopes,
  sendProblem,
} from "idp-client/fastify";
import { settings } from "./settings.js";

const { url, port, options } = settings();
const app = Fastify();
await app.register(authentication, { gate: Gate.at(url, options) });
app.setErrorHandler((error, _request, reply) => {
  if (error instanceof AuthError) return sendProblem(reply, error);
  return reply.send(error);
});

app.get("/public", async () => ({ message: "This is a public endpoint" }));
app.get("/me", { onRequest: requiresCaller() }, async (request) => {
  const { kind, name, user, scopes } = callerOf(request);
  return { kind, name: name ?? null, email: user?.email ?? null, scopes };
});
app.post<{ Body: { message: string } }>("/echo", { onRequest: requiresScopes("read") }, async (request) => {
  const { name, scopes } = callerOf(request);
  return { message: `Echo: ${request.body.message}`, authenticated_as: name, scopes };
});
app.get("/admin/report", { preHandler: requiresRoles("admin") }, async () => {
  return { report: "This is for administrators" };
});
app.get("/greeting", async (request) => {
  const caller = await optionalCaller(request);
  return { greeting: `Hello ${caller?.user?.email ?? "stranger"}` };
});
await app.listen({ port, host: "127.0.0.1" });
