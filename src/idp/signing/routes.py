"""GET /.well-known/jwks.json: our public keys (RFC 7517)."""

from typing import Any

from litestar import Response, get
from litestar.di import NamedDependency

from idp.principal.guards import public
from idp.signing.keyring import Keyring


@get(
    "/.well-known/jwks.json",
    opt=public(),
    tags=["Who is calling"],
    summary="Public signing keys (RFC 7517)",
    media_type="application/jwk-set+json",
)
async def jwks(keyring: NamedDependency[Keyring]) -> Response[dict[str, Any]]:
    """Return the keys that verify our access tokens, those that will sign soon included. Cache for five minutes."""
    return Response(
        await keyring.jwks(),
        headers={"Cache-Control": "public, max-age=300", "Access-Control-Allow-Origin": "*"},
    )


ROUTES = (jwks,)
