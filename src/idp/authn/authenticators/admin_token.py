"""ADMIN_TOKEN: a bearer token from the settings that authorizes management (C-09)."""

import hashlib
import hmac

from idp.authn.credential import Presented
from idp.authn.outcome import NOT_MINE, Authenticated, Outcome, Service
from idp.checks import holds
from idp.principal.model import AuthMethod, Credential
from idp.principal.permissions import IDP_MANAGE
from idp.settings import Secret


class AdminToken:
    """Owns exactly the configured token; owns nothing if it is not configured."""

    name = "admin_token"

    def __init__(self, token: Secret | None) -> None:
        self._digest = _digest(token.reveal()) if token else None

    async def authenticate(self, presented: Presented) -> Outcome:
        if not presented.token or self._digest is None:
            holds(False, "ADMIN_TOKEN", *(("no token", "the same") if self._digest else ("not configured", None)))
            return NOT_MINE
        is_same = hmac.compare_digest(_digest(presented.token), self._digest)
        if not holds(is_same, "ADMIN_TOKEN", "the same" if is_same else "another token", "the same"):
            return NOT_MINE
        return Authenticated(
            Service(),
            Credential(method=AuthMethod.ADMIN_TOKEN, id="admin-token", name="ADMIN_TOKEN", scopes=(IDP_MANAGE,)),
        )


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
