"""GET /.well-known/jwks.json: our public keys (RFC 7517)."""

from typing import Any

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency

from idp import clock
from idp.principal.guards import public
from idp.signing.keyring import Keyring
from idp.signing.signing_key import SigningKey

JWKS_PATH = "/.well-known/jwks.json"
JWKS_TYPE = "application/jwk-set+json"
JWKS_HEADERS = {"Cache-Control": "public, max-age=300", "Access-Control-Allow-Origin": "*"}
_REENCODE_SECONDS = 1.0  # without a change, because a key may have expired


class PublishedKeys:
    """The encoded JWKS, cached per state of the key ring.

    Args:
        keyring: reloads the keys on notification and once a minute.
    """

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._document = b""
        self._made_at = 0.0
        self._made_under: SigningKey | None = None

    async def document(self) -> bytes:
        """Return the JWKS.

        Raises:
            DatabaseUnavailable: the keys must be read and PostgreSQL is unavailable.
        """
        signing = await self._keyring.signing_key()  # a new object after every reload, even for the same key
        now = clock.seconds()
        if signing is not self._made_under or not 0 <= now - self._made_at < _REENCODE_SECONDS:
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
    """Return the keys that verify access tokens, including those that sign soon. Cache them for five minutes."""
    return Response(await keyring.jwks(), headers=JWKS_HEADERS)


ROUTES = (jwks,)
