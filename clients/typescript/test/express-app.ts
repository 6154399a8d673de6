// An Express service for the tests: PORT, AUTH_SERVICE_URL and IDP_ISSUER say where.
import express from "express";
import { Gate } from "idp-client";
import {
  answerProblem,
  authenticate,
  callerOf,
  optionalCaller,
  requiresCaller,
  requiresRoles,
  requiresScopes,
} from "idp-client/express";
import { settings } from "./settings.js";

const { url, port, options } = settings();
const app = express();
app.use(authenticate(Gate.at(url, options)));

app.get("/public", (_request, response) => {
  response.json({ message: "This is a public endpoint" });
});
app.get("/me", requiresCaller(), (request, response) => {
  const { kind, name, user, scopes } = callerOf(request);
  response.json({ kind, name: name ?? null, email: user?.email ?? null, scopes });
});
app.post("/echo", requiresScopes("read"), express.json(), (request, response) => {
  const { name, scopes } = callerOf(request);
  response.json({ message: `Echo: ${request.body.message}`, authenticated_as: name, scopes });
});
app.get("/admin/report", requiresRoles("admin"), (_request, response) => {
  response.json({ report: "This is for administrators" });
});
app.get("/greeting", async (request, response) => {
  const caller = await optionalCaller(request);
  response.json({ greeting: `Hello ${caller?.user?.email ?? "stranger"}` });
});
app.use(answerProblem);
app.listen(port, "127.0.0.1");
