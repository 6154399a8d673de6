// An issuer for the tests: a server for its keys, and tokens signed with them.
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { exportJWK, generateKeyPair, SignJWT } from "jose";

export const ISSUER = "https://id.example.com";

/** Answers every request with `reply`, which may change while it runs. */
export class FakeServer {
  asked = 0;
  reply: { status: number; body: string; wait?: number };
  readonly #server: Server;

  private constructor(body: unknown) {
    this.reply = { status: 200, body: JSON.stringify(body) };
    this.#server = createServer((_request, response) => {
      this.asked += 1;
      const { status, body: text, wait = 0 } = this.reply;
      setTimeout(() => response.writeHead(status).end(text), wait);
    });
  }

  static async with(body: unknown): Promise<FakeServer> {
    const server = new FakeServer(body);
    await new Promise<void>((listening) => server.#server.listen(0, "127.0.0.1", listening));
    return server;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Close the connections that clients keep open. */
  dropConnections(): void {
    this.#server.closeAllConnections();
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}

/** A key pair: its JWK, and a function that signs access tokens with it. */
export async function newKey(kid: string) {
  const { publicKey, privateKey } = await generateKeyPair("ES256");
  const jwk = { ...(await exportJWK(publicKey)), kid, use: "sig", alg: "ES256" };
  const token = (claims: Record<string, unknown> = {}): Promise<string> => {
    const now = Math.floor(Date.now() / 1000);
    const standard = { iat: now, exp: now + 600, jti: "t", iss: ISSUER, aud: ISSUER, sub: "u", uid: "u", client_id: "idp" };
    return new SignJWT({ ...standard, ...claims })
      .setProtectedHeader({ alg: "ES256", kid, typ: "at+jwt" })
      .sign(privateKey);
  };
  return { jwk, token };
}
