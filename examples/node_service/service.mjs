// A Node service that authenticates its callers with idp: plain `node:http`, and `jose` for signatures.
//
//     npm install
//     export AUTH_SERVICE_URL=http://localhost:8000 IDP_DEVELOPMENT=1  # the second to take tokens of `idp dev`
//     PORT=8002 node service.mjs
//
// Access tokens are verified offline with idp's JWKS; API keys and service tokens are verified online.
import { createServer, STATUS_CODES } from "node:http";
import { createRemoteJWKSet, decodeJwt, errors, jwtVerify } from "jose";

const { env } = process;
const AUTH_SERVICE_URL = (env.AUTH_SERVICE_URL ?? "http://localhost:8000").replace(/\/$/, "");
const ISSUER = env.IDP_ISSUER ?? AUTH_SERVICE_URL; // IDP_PUBLIC_URL of idp
const DEVELOPMENT = env.IDP_DEVELOPMENT === "1"; // accept tokens of `idp dev`; never in production

// An unknown key causes at most one fetch per `cooldownDuration`; during an outage, keys are used until `cacheMaxAge`.
const keys = createRemoteJWKSet(new URL(`${AUTH_SERVICE_URL}/.well-known/jwks.json`), {
  cooldownDuration: 5_000,
  cacheMaxAge: 600_000,
  timeoutDuration: 2_000,
});
const policy = {
  issuer: ISSUER,
  audience: ISSUER,
  typ: "at+jwt", // refuses ID tokens (RFC 9068 section 4)
  algorithms: ["ES256", "RS256"],
  requiredClaims: ["exp", "iat", "sub"],
  clockTolerance: 10, // seconds
};

class Refusal extends Error {
  constructor(status, code, detail, headers = {}) {
    super(detail);
    Object.assign(this, { status, code, headers });
  }
}
const CHALLENGE = { "WWW-Authenticate": 'Bearer error="invalid_token"' };
const rejected = (code = "token_invalid", detail = "Invalid token") => new Refusal(401, code, detail, CHALLENGE);
const unavailable = () =>
  new Refusal(503, "auth_unavailable", "The credential cannot be checked now.", { "Retry-After": "1" });

// At most one credential; undefined for none. A scheme other than Bearer is an invalid credential.
function presented(headers) {
  const sent = new Set();
  if (headers.authorization !== undefined) sent.add(/^bearer +(.+)$/i.exec(headers.authorization)?.[1].trim() ?? "");
  if (headers["x-api-key"] !== undefined) sent.add(headers["x-api-key"]);
  if (sent.size > 1) throw new Refusal(400, "ambiguous_credentials", "Two credentials that differ. Send one.");
  return [...sent][0];
}

function issuerOf(token) {
  try {
    return decodeJwt(token).iss;
  } catch {
    return undefined; // not a JWT: an API key or a service token
  }
}

async function verify(token) {
  try {
    const { payload } = await jwtVerify(token, keys, policy);
    if ("idp_env" in payload && !DEVELOPMENT) throw rejected("development_token", "Made by `idp dev`; IDP_DEVELOPMENT=1 takes it");
    const scopes = (payload.scope ?? "").split(" ").filter(Boolean);
    return { kind: "user", name: null, email: payload.email ?? null, scopes, roles: payload.roles };
  } catch (error) {
    if (error instanceof Refusal) throw error;
    if (error instanceof errors.JWTExpired) throw rejected("token_expired", "Token expired");
    // Other errors with a code concern the token; the rest concern fetching the keys.
    const away = new Set(["ERR_JOSE_GENERIC", "ERR_JWKS_TIMEOUT", "ERR_JWKS_INVALID"]);
    throw error instanceof errors.JOSEError && !away.has(error.code) ? rejected() : unavailable();
  }
}

async function ask(token) {
  const answer = await fetch(`${AUTH_SERVICE_URL}/auth/validate`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ token, service_name: "node-service" }),
    signal: AbortSignal.timeout(5_000),
  }).catch(() => {
    throw unavailable();
  });
  const verdict = answer.status === 200 ? await answer.json() : undefined; // any other status is not a verdict
  if (typeof verdict?.valid !== "boolean") throw unavailable();
  if (!verdict.valid) throw rejected(verdict.error, verdict.detail ?? undefined);
  const { kind, name, user, scopes } = verdict;
  return { kind, name, email: user?.email ?? null, scopes, roles: user?.roles };
}

async function caller(request, ...required) {
  const token = presented(request.headers);
  if (token === undefined) throw new Refusal(401, "unauthenticated", "Unauthorized", { "WWW-Authenticate": "Bearer" });
  if (!/^[\x21-\x7e]{1,8192}$/.test(token)) throw rejected();
  const who = issuerOf(token) === ISSUER ? await verify(token) : await ask(token);
  if (required.every((scope) => who.scopes.includes(scope))) return who;
  const scope = required.join(" ");
  const challenge = { "WWW-Authenticate": `Bearer error="insufficient_scope", scope="${scope}"` };
  throw new Refusal(403, "insufficient_scopes", `Insufficient permissions. Required: ${scope}`, challenge);
}

// A token contains the roles at the time of signing; with too many roles it has none, and idp is asked.
async function requireRole(request, role) {
  const who = await caller(request);
  const { roles } = who.roles || who.kind !== "user" ? who : await ask(presented(request.headers));
  if (who.kind === "user" && roles?.includes(role)) return who; // an API key has scopes, not its owner's roles
  const challenge = { "WWW-Authenticate": 'Bearer error="insufficient_scope"' };
  throw new Refusal(403, "insufficient_roles", `Insufficient permissions. Required role: ${role}`, challenge);
}

async function body(request) {
  let text = "";
  for await (const chunk of request) if ((text += chunk).length > 100_000) throw new Refusal(413, "too_large", "Too large");
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const routes = {
  "GET /public": () => ({ message: "This is a public endpoint" }),
  "GET /me": async (request) => {
    const { kind, name, email, scopes } = await caller(request);
    return { kind, name, email, scopes };
  },
  "POST /echo": async (request) => {
    const { name, scopes } = await caller(request, "read");
    const message = (await body(request))?.message;
    if (typeof message !== "string") throw new Refusal(422, "validation_failed", 'Send {"message": "…"}.');
    return { message: `Echo: ${message}`, authenticated_as: name, scopes };
  },
  "GET /admin/secret": async (request) => {
    await caller(request, "admin");
    return { secret: "This is secret admin data" };
  },
  "GET /admin/report": async (request) => {
    await requireRole(request, "admin");
    return { report: "This is for administrators" };
  },
};

createServer(async (request, response) => {
  try {
    const route = routes[`${request.method} ${request.url}`];
    if (!route) throw new Refusal(404, "not_found", "Not found");
    const answer = JSON.stringify(await route(request));
    response.writeHead(200, { "Content-Type": "application/json" }).end(answer);
  } catch (error) {
    const { status = 400, code = "bad_request", headers = {} } = error;
    const detail = error instanceof Refusal ? error.message : "The request cannot be read.";
    response.writeHead(status, { "Content-Type": "application/problem+json", "Cache-Control": "no-store", ...headers });
    response.end(JSON.stringify({ type: "about:blank", title: STATUS_CODES[status], status, detail, code }));
  }
}).listen(Number(env.PORT ?? 8002), function () {
  console.log(`listening on port ${this.address().port}`);
});
