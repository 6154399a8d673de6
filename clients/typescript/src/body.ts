/** Reads bodies of responses up to a limit. */

/**
 * Return the body of a response.
 *
 * @throws Error: it is longer than `limit` bytes, or the connection broke.
 */
export async function readBody(answer: Response, limit: number): Promise<string> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of answer.body ?? []) {
    length += chunk.length;
    if (length > limit) throw new Error(`longer than ${limit} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf-8");
}
