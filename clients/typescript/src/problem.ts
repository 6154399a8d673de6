/** Problem documents of errors (`application/problem+json`, RFC 9457), for all adapters. */
import { STATUS_CODES } from "node:http";
import type { AuthError } from "./errors.js";

/** A response, for whatever framework. */
export interface ProblemResponse {
  status: number;
  headers: Record<string, string>;
  body: string;
}

/** Return the response for an error. */
export function problemResponse(error: AuthError): ProblemResponse {
  const { status, detail, code } = error;
  const body = JSON.stringify({ type: "about:blank", title: STATUS_CODES[status], status, detail, code });
  const headers = {
    "Content-Type": "application/problem+json",
    "Content-Length": String(Buffer.byteLength(body)),
    "Cache-Control": "no-store",
    ...error.headers,
  };
  return { status, headers, body };
}
