"""GET /.well-known/jwks.json: our public keys (RFC 7517)."""

from typing import Any

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency

from idp import clock
from idp.principal.guards import public
from idp.signing.keyring import Keyring, SigningKey

JWKS_PATH = "/.well-known/jwks.json"
JWKS_TYPE = "application/jwk-set+json"
JWKS_HEADERS = {"Cache-Control": "public, max-age=300", "Access-Control-Allow-Origin": "*"}
_MADE_ANEW_AFTER_SECONDS = 1.0  # when nobody changed the keys: one may have reached its end by the clock alone


class PublishedKeys:
    """The JWKS as it is sent, encoded once for each state of the key ring.

    Args:
        keyring: our keys; it reads them anew when it hears of a change, and once a minute.
    """

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._document = b""
        self._made_at = 0.0
        self._made_under: SigningKey | None = None

    async def document(self) -> bytes:
        """Return the JWKS.

        Raises:
            DatabaseUnavailable: the keys had to be read, and PostgreSQL is away.
        """
        signing = await self._keyring.signing_key()  # another object after every reading, even of the same key
        now = clock.seconds()
        if signing is not self._made_under or not 0 <= now - self._made_at < _MADE_ANEW_AFTER_SECONDS:
            self._document = msgspec.json.encode(await self._keyring.jwks())
            self._made_at, self._made_under = now, signing
        return self._document


@get(
    JWKS_PATH,
    opt=public(),
    tags=["Authentication"],
    summary="Public signing keys (RFC 7517)",
    media_type=JWKS_TYPE,
)
async def jwks(keyring: NamedDependency[Keyring]) -> Response[dict[str, Any]]:
    """Return the keys that verify our access tokens, those that will sign soon included. Cache for five minutes."""
    return Response(await keyring.jwks(), headers=JWKS_HEADERS)


ROUTES = (jwks,)
