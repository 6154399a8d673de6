"""The public documents of Example Corp, the OpenID provider of another company for development."""

from typing import Any

from litestar import MediaType, Request, Response, Router, get
from litestar.di import NamedDependency
from litestar.types import ControllerRouterHandler

from idp.dev.local_host import is_local_request
from idp.dev.upstream_issuer import PATH, UpstreamIssuer
from idp.errors import NotFound
from idp.principal.guards import public
from idp.settings import Settings


@get("/.well-known/openid-configuration", opt=public())
async def discovery(
    request: Request[Any, Any, Any],
    upstream_issuer: NamedDependency[UpstreamIssuer],
    settings: NamedDependency[Settings],
) -> Response[Any]:
    """Return the discovery document."""
    _check_local(request, settings)
    return Response(upstream_issuer.discovery(), media_type=MediaType.JSON)


@get("/jwks.json", opt=public())
async def keys(
    request: Request[Any, Any, Any],
    upstream_issuer: NamedDependency[UpstreamIssuer],
    settings: NamedDependency[Settings],
) -> Response[Any]:
    """Return the public keys."""
    _check_local(request, settings)
    return Response(upstream_issuer.jwks(), media_type=MediaType.JSON)


def _check_local(request: Request[Any, Any, Any], settings: Settings) -> None:
    """Refuse requests to other host names (DNS rebinding, docs/decisions/0010)."""
    if not is_local_request(request.headers, in_container=settings.dev.in_container):
        raise NotFound("Example Corp is available only at localhost.")


ROUTES: tuple[ControllerRouterHandler, ...] = (
    Router(path=PATH, route_handlers=[discovery, keys], include_in_schema=False),
)
