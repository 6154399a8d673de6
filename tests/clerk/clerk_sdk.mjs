// Verifies with Clerk's own SDK: reads {token, secretKey, apiUrl, issuer, webhook} from stdin, prints what it found.
import { verifyToken } from '@clerk/backend';
import { verifyWebhook } from '@clerk/backend/webhooks';

const given = JSON.parse(await new Response(process.stdin).text());

async function outcome(work) {
  try {
    return { ok: await work() };
  } catch (error) {
    return { error: String(error.reason ?? error.message) };
  }
}

const options = { secretKey: given.secretKey, apiUrl: given.apiUrl, authorizedParties: [given.party] };
const request = (body) =>
  new Request('http://localhost/webhooks/clerk', { method: 'POST', headers: given.webhook.headers, body });
console.log(
  JSON.stringify({
    token: await outcome(() => verifyToken(given.token, options)),
    stale: await outcome(() => verifyToken(given.stale, options)),
    webhook: await outcome(() => verifyWebhook(request(given.webhook.body), { signingSecret: given.signingSecret })),
    changed: await outcome(() => verifyWebhook(request(given.webhook.body + ' '), { signingSecret: given.signingSecret })),
  }),
);
