/** Verifies credentials online, with POST /auth/validate (S2-15 to S2-19). */
import { readBody } from "./body.js";
import { isPlausible } from "./credentials.js";
import { AuthUnavailable } from "./errors.js";
import { readTokenInfo, type TokenInfo } from "./token-info.js";

const MAX_BYTES = 1_048_576;
const MAX_NAME_LENGTH = 1000; // characters, the limit of the service; callers choose the path
// Errors of a reused connection that the service has closed; the request is idempotent and sent again.
const STALE_CONNECTION = new Set(["UND_ERR_SOCKET", "ECONNRESET", "EPIPE"]);
// An impossible credential is rejected without a request, so that it cannot appear as an outage.
const IMPLAUSIBLE = readTokenInfo({
  valid: false,
  error: "token_invalid",
  detail: "empty, too long, or not a Bearer token",
});

export interface Question {
  /** The credential must have all of them. */
  requiredScopes?: readonly string[];
  /** The calling service, for the log. */
  serviceName?: string | undefined;
  /** The action, such as the path, for the log. */
  actionName?: string | undefined;
}

/** Asks idp about credentials. */
export class Introspector {
  readonly #url: string;
  readonly #timeout: number;

  /**
   * @param authServiceUrl such as http://auth-service:8000.
   * @param options `timeout`: seconds for a call in total; default 5.
   */
  constructor(authServiceUrl: string, { timeout = 5 }: { timeout?: number } = {}) {
    this.#url = `${authServiceUrl.replace(/\/+$/, "")}/auth/validate`;
    this.#timeout = timeout;
  }

  /**
   * Return the verdict on a credential, valid or not.
   *
   * @param token an access token, an API key or a service token.
   * @throws AuthUnavailable: no response in time, or a status other than 200.
   */
  async validate(token: string, question: Question = {}): Promise<TokenInfo> {
    if (!isPlausible(token)) return IMPLAUSIBLE;
    const body = JSON.stringify({
      token,
      required_scopes: question.requiredScopes ?? [],
      service_name: question.serviceName?.slice(0, MAX_NAME_LENGTH) ?? null,
      action_name: question.actionName?.slice(0, MAX_NAME_LENGTH) ?? null,
    });
    const signal = AbortSignal.timeout(this.#timeout * 1000);
    try {
      return await this.#ask(body, signal);
    } catch (error) {
      if (error instanceof AuthUnavailable) throw error;
      throw new AuthUnavailable(`${this.#url} is unreachable: ${describe(error)}`);
    }
  }

  async #ask(body: string, signal: AbortSignal): Promise<TokenInfo> {
    const answer = await this.#post(body, signal).catch((error: unknown) => {
      if (STALE_CONNECTION.has(causeOf(error)?.code ?? "")) return this.#post(body, signal);
      throw error;
    });
    if (answer.status !== 200) {
      // S2-15: any other status is not a verdict
      await answer.body?.cancel();
      const text = answer.headers.get("Retry-After") ?? "";
      throw new AuthUnavailable(`${this.#url} answered ${answer.status}`, /^\d{1,4}$/.test(text) ? Number(text) : 1);
    }
    return readTokenInfo(JSON.parse(await readBody(answer, MAX_BYTES)));
  }

  #post(body: string, signal: AbortSignal): Promise<Response> {
    const headers = { "Content-Type": "application/json" };
    return fetch(this.#url, { method: "POST", headers, body, signal, redirect: "manual" });
  }
}

function causeOf(error: unknown): { code?: string } | undefined {
  return error instanceof Error ? (error.cause as { code?: string } | undefined) : undefined;
}

function describe(error: unknown): string {
  return `${String(error)} ${causeOf(error)?.code ?? ""}`.trim();
}
