"""The stand-in's Clerk APIs: the keys of the frontend API, and the part of the Backend API that `idp clerk` reads."""

import hmac
from collections.abc import Callable
from typing import Annotated, Any

from litestar import MediaType, Request, Response, Router, get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from litestar.types import ControllerRouterHandler
from msgspec import Struct

from idp.dev.clerk_instance import ClerkInstance
from idp.dev.local_host import is_local_request
from idp.errors import NotFound, Unauthenticated
from idp.principal.guards import decided_by_handler, public
from idp.settings import Settings

PATH = "/dev/clerk"
_MAX_PAGE = 500
_KEY = decided_by_handler("secret key of the stand-in")


class StandIn(Struct, frozen=True):
    """The stand-in, read again for each request."""

    current: Callable[[], ClerkInstance]


@get("/.well-known/jwks.json", opt=public())
async def keys(
    request: Request[Any, Any, Any], clerk_stand_in: NamedDependency[StandIn], settings: NamedDependency[Settings]
) -> Response[Any]:
    """Return the public keys of the instance."""
    _check_local(request, settings)
    return Response(clerk_stand_in.current().jwks(), media_type=MediaType.JSON)


@get("/v1/jwks", opt=_KEY)
async def backend_keys(
    request: Request[Any, Any, Any], clerk_stand_in: NamedDependency[StandIn], settings: NamedDependency[Settings]
) -> Response[Any]:
    """Return the same keys to holders of the secret key."""
    return Response(_authorized(request, clerk_stand_in, settings).jwks(), media_type=MediaType.JSON)


@get("/v1/users", opt=_KEY)
async def users(
    request: Request[Any, Any, Any],
    clerk_stand_in: NamedDependency[StandIn],
    settings: NamedDependency[Settings],
    limit: Annotated[int, QueryParameter(ge=1, le=_MAX_PAGE)] = 10,
    offset: Annotated[int, QueryParameter(ge=0)] = 0,
) -> Response[Any]:
    """Return a page of users, oldest first."""
    instance = _authorized(request, clerk_stand_in, settings)
    return Response(instance.listed(limit=limit, offset=offset), media_type=MediaType.JSON)


@get("/v1/users/{user_id:str}", opt=_KEY)
async def user(
    request: Request[Any, Any, Any],
    user_id: FromPath[str],
    clerk_stand_in: NamedDependency[StandIn],
    settings: NamedDependency[Settings],
) -> Response[Any]:
    """Return a user."""
    found = _authorized(request, clerk_stand_in, settings).state.users.get(user_id)
    if found is None:
        raise NotFound
    return Response(found, media_type=MediaType.JSON)


def _authorized(request: Request[Any, Any, Any], stand_in: StandIn, settings: Settings) -> ClerkInstance:
    _check_local(request, settings)
    instance = stand_in.current()
    given = request.headers.get("authorization", "")
    if not hmac.compare_digest(given.encode(), f"Bearer {instance.state.secret_key}".encode()):
        raise Unauthenticated("Send the secret key of the stand-in.")
    return instance


def _check_local(request: Request[Any, Any, Any], settings: Settings) -> None:
    """Refuse requests to other host names (DNS rebinding, docs/decisions/0010)."""
    if not is_local_request(request.headers, in_container=settings.dev.in_container):
        raise NotFound("The stand-in for Clerk is available only at localhost.")


ROUTES: tuple[ControllerRouterHandler, ...] = (
    Router(path=PATH, route_handlers=[keys, backend_keys, users, user], include_in_schema=False),
)
