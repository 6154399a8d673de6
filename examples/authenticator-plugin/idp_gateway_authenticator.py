"""An authenticator plugin: the caller is the user in a header that a gateway signs.

    X-Gateway-Assertion: <user-id>.<expiry>.<hmac>

`expiry` is in seconds since 1970, at most a minute ahead. `hmac` is HMAC-SHA-256 in hexadecimal digits, over issuer,
user id and expiry, a line each, under a secret that the gateway and idp share. The issuer keeps an assertion that was
made for one deployment from being good in another.
"""

import hashlib
import hmac
from datetime import UTC, datetime
from pathlib import Path

from idp import clock
from idp.authn.credential import Presented
from idp.authn.outcome import NOT_MINE, Authenticated, ByUserId, Outcome, Rejected
from idp.authn.plugins import PluginContext
from idp.errors import TokenExpired, TokenInvalid
from idp.principal.model import AuthMethod, Credential

HEADER = "x-gateway-assertion"
LONGEST_SECONDS = 60


class GatewayAssertion:
    """Handles requests with the gateway's header and no explicit credential, which would take precedence."""

    def __init__(self, name: str, secret: bytes, issuer: str) -> None:
        self.name = name
        self._secret = secret
        self._issuer = issuer

    async def authenticate(self, presented: Presented) -> Outcome:
        assertion = presented.headers.get(HEADER)
        if presented.token is not None or assertion is None:
            return NOT_MINE
        if assertion.count(".") < 2:
            return Rejected(TokenInvalid())
        user_id, expiry, signature = assertion.rsplit(".", 2)
        if not hmac.compare_digest(self._sign(user_id, expiry).encode(), signature.encode()):
            return Rejected(TokenInvalid())
        ends, now = int(expiry), clock.timestamp()  # the gateway wrote it, so it is a number
        if ends <= now:
            return Rejected(TokenExpired())
        if ends > now + LONGEST_SECONDS:
            return Rejected(TokenInvalid())
        credential = Credential(method=AuthMethod.PLUGIN, name=self.name, expires_at=datetime.fromtimestamp(ends, UTC))
        return Authenticated(ByUserId(user_id), credential)

    def _sign(self, user_id: str, expiry: str) -> str:
        said = f"{self._issuer}\n{user_id}\n{expiry}".encode()
        return hmac.new(self._secret, said, hashlib.sha256).hexdigest()


def build(context: PluginContext) -> GatewayAssertion:
    """Create it from `[authn.plugin_settings.gateway]`. An exception stops the start; its message is shown."""
    file = Path(context.settings.get("secret_file", ""))
    secret = file.read_bytes().strip() if file.is_file() else b""
    if len(secret) < 32:
        raise ValueError("secret_file must name a file that holds 32 or more random characters")
    return GatewayAssertion(context.name, secret, context.issuer)
