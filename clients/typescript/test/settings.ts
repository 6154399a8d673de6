// The settings of the services for the tests, from the environment.
import type { GateAtOptions } from "idp-client";

export function settings(): { url: string; port: number; options: GateAtOptions } {
  const { AUTH_SERVICE_URL, IDP_ISSUER, IDP_DEVELOPMENT, PORT } = process.env;
  if (AUTH_SERVICE_URL === undefined) throw new Error("AUTH_SERVICE_URL is missing");
  const options = { issuer: IDP_ISSUER, serviceName: "test-service", allowDevelopment: IDP_DEVELOPMENT === "1" };
  return { url: AUTH_SERVICE_URL, port: Number(PORT ?? 8002), options };
}
