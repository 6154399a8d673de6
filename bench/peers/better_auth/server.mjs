// better-auth as a peer: its API-key plugin's verification and get-session, over PostgreSQL.
// Prints READY and its requests on one line once it listens (see bench/peers/__init__.py).
import { createServer } from "node:http";
import { once } from "node:events";

import { apiKey } from "@better-auth/api-key";
import { betterAuth } from "better-auth";
import { getMigrations } from "better-auth/db/migration";
import { toNodeHandler } from "better-auth/node";
import pg from "pg";

const port = Number(process.argv[2]);
const origin = `http://127.0.0.1:${port}`;
const EMAIL = "person@example.com";
const options = {
  baseURL: origin,
  secret: process.env.BENCH_SECRET,
  database: new pg.Pool({ connectionString: process.env.DATABASE_URL, max: 10 }),
  emailAndPassword: { enabled: true },
  rateLimit: { enabled: false },
  telemetry: { enabled: false },
  logger: { level: "error" },
  plugins: [apiKey({ rateLimit: { enabled: false } })],
};
const auth = betterAuth(options);
const ordinary = toNodeHandler(auth);

// The plugin has no route for other services: this is one.
async function verify(request, response) {
  let text = "";
  for await (const chunk of request.setEncoding("utf8")) text += chunk;
  const verdict = await auth.api.verifyApiKey({ body: { key: JSON.parse(text).key } });
  const body = JSON.stringify(verdict);
  response.writeHead(200, { "content-type": "application/json", "content-length": Buffer.byteLength(body) });
  response.end(body);
}

async function signUp() {
  const response = await auth.api.signUpEmail({
    body: { email: EMAIL, name: "Pat Person", password: "correct horse battery" },
    asResponse: true,
  });
  const cookies = response.headers.getSetCookie().map((cookie) => cookie.split(";", 1)[0]);
  return { userId: (await response.json()).user.id, cookie: cookies.join("; ") };
}

async function requests() {
  const { userId, cookie } = await signUp();
  const { key } = await auth.api.createApiKey({ body: { name: "bench", userId } });
  return {
    validate: {
      method: "POST",
      path: "/verify",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ key }),
      expect: { valid: true },
    },
    me: {
      method: "GET",
      path: "/api/auth/get-session",
      headers: { cookie },
      expect: { user: { email: EMAIL } },
    },
  };
}

await (await getMigrations(options)).runMigrations();
const server = createServer((request, response) =>
  request.url === "/verify" ? verify(request, response) : ordinary(request, response),
);
server.keepAliveTimeout = 75_000;
server.listen(port, "127.0.0.1");
await once(server, "listening");
console.log(`READY ${JSON.stringify({ requests: await requests() })}`);
