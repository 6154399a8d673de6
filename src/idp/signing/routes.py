"""GET /.well-known/jwks.json: our public keys (RFC 7517)."""

from collections.abc import Awaitable
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

    def document(self) -> bytes | Awaitable[bytes]:
        """Return the JWKS, as an awaitable if it has to be encoded once more.

        Raises:
            DatabaseUnavailable: the keys must be read and PostgreSQL is unavailable.
        """
        return self._document if self._is_current(self._keyring.loaded_key()) else self._encode()

    async def _encode(self) -> bytes:
        signing = await self._keyring.signing_key()
        if not self._is_current(signing):  # nor has another request encoded it meanwhile
            self._document = msgspec.json.encode(await self._keyring.jwks())
            self._made_at, self._made_under = clock.seconds(), signing
        return self._document

    def _is_current(self, signing: SigningKey | None) -> bool:
        """Whether the document is of this key, a new object after every reload, even for the same key."""
        is_recent = 0 <= clock.seconds() - self._made_at < _REENCODE_SECONDS
        return is_recent and signing is not None and signing is self._made_under


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
