// Serves the single-page app, and an API that accepts its access tokens.
//
//     npm install
//     npm start
//
// Then open http://127.0.0.1:5173/. `script/dev` has the client `spa` ready; environment: AUTH_SERVICE_URL, CLIENT_ID, PORT.
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createRemoteJWKSet, jwtVerify } from "jose";

const { env } = process;
const authority = (env.AUTH_SERVICE_URL ?? "http://localhost:8000").replace(/\/$/, "");
const keys = createRemoteJWKSet(new URL(`${authority}/.well-known/jwks.json`));
const module_ = (path) => ["text/javascript", new URL(`./node_modules/${path}`, import.meta.url)];
const files = {
  "/": ["text/html; charset=utf-8", new URL("./index.html", import.meta.url)],
  "/callback": ["text/html; charset=utf-8", new URL("./index.html", import.meta.url)],
  "/app.mjs": ["text/javascript", new URL("./app.mjs", import.meta.url)],
  "/modules/oidc-client-ts.js": module_("oidc-client-ts/dist/esm/oidc-client-ts.js"),
  "/modules/jwt-decode.js": module_("jwt-decode/build/esm/index.js"),
};

async function greet(request) {
  const [scheme, token] = (request.headers.authorization ?? "").split(" ");
  if (scheme !== "Bearer" || !token) return [401, { error: "send a token" }];
  try {
    const expected = { issuer: authority, audience: authority, typ: "at+jwt" };
    const { payload } = await jwtVerify(token, keys, expected);
    return [200, { greeting: `Hello ${payload.sub}`, client: payload.client_id }];
  } catch (error) {
    return [401, { error: error.code ?? "invalid token" }];
  }
}

const server = createServer(async (request, response) => {
  const { pathname } = new URL(request.url, "http://localhost");
  const json = (status, body) =>
    response.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(body));
  if (pathname === "/config.json") return json(200, { authority, client_id: env.CLIENT_ID ?? "spa" });
  if (pathname === "/api/greeting") return json(...(await greet(request)));
  const found = files[pathname];
  if (!found) return json(404, { error: "not found" });
  response.writeHead(200, { "Content-Type": found[0], "Cache-Control": "no-cache" }).end(await readFile(found[1]));
});
const port = Number(env.PORT ?? 5173);
server.listen(port, "127.0.0.1", () => console.log(`Open http://127.0.0.1:${port}/`));
