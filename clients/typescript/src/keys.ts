/** Public keys of a JWKS (RFC 7517), each with exactly one algorithm (SEC-20), and signatures checked with them. */
import { compactVerify, importJWK } from "jose";
import { base64url } from "./compact.js";

const MIN_RSA_BITS = 2048; // SEC-29

export type Jwk = Record<string, unknown>;
export type Algorithm = "ES256" | "RS256";

/** A member of a JWKS that is not supported; the message says why. */
export class UnusableKey extends Error {}

/** A public key and the one algorithm that it verifies. */
export interface VerificationKey {
  readonly algorithm: Algorithm;
  readonly jwk: string; // as published, to recognize an unchanged key
  readonly publicKey: Parameters<typeof compactVerify>[1];
}

/**
 * Parse a member of a JWKS.
 *
 * @throws UnusableKey: another type, curve, use or algorithm, a private or a short key, or a point off the curve.
 */
export async function importKey(jwk: Jwk): Promise<VerificationKey> {
  const algorithm = algorithmOf(jwk);
  // Only these members: nothing else in the JWKS has a say.
  const { kty, crv, x, y, n, e } = jwk;
  const members = algorithm === "ES256" ? { kty, crv, x, y } : { kty, n, e };
  try {
    if (algorithm === "RS256" && bitsOf(n) < MIN_RSA_BITS) throw new UnusableKey(`RSA needs ${MIN_RSA_BITS} bits`);
    const publicKey = await importJWK(members as Parameters<typeof importJWK>[0], algorithm);
    return { algorithm, jwk: JSON.stringify(jwk), publicKey };
  } catch (error) {
    throw new UnusableKey(String(error));
  }
}

/** Return whether this key made the signature of a token. */
export async function isSignedBy(token: string, key: VerificationKey): Promise<boolean> {
  try {
    await compactVerify(token, key.publicKey, { algorithms: [key.algorithm] });
    return true;
  } catch {
    return false;
  }
}

function algorithmOf(jwk: Jwk): Algorithm {
  if ("d" in jwk || "k" in jwk) throw new UnusableKey("a private key was published");
  const operations = jwk["key_ops"] ?? ["verify"];
  if ((jwk["use"] ?? "sig") !== "sig" || !Array.isArray(operations) || !operations.includes("verify")) {
    throw new UnusableKey("not for signatures");
  }
  const { kty, crv, alg } = jwk;
  if (kty === "EC" && crv === "P-256" && (alg ?? "ES256") === "ES256") return "ES256";
  if (kty === "RSA" && (alg ?? "RS256") === "RS256") return "RS256";
  throw new UnusableKey(`neither ES256 nor RS256: ${String(kty)} ${String(crv)} ${String(alg)}`);
}

function bitsOf(modulus: unknown): number {
  const hex = Buffer.from(base64url(String(modulus), "n")).toString("hex");
  return hex === "" ? 0 : BigInt(`0x${hex}`).toString(2).length;
}
