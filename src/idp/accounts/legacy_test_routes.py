"""GET /api/auth/test/public and /protected: the old service's test routes for clients (S4-15, S4-22)."""

from datetime import datetime
from typing import Any, Literal

from litestar import Request, get
from msgspec import Struct

from idp import clock
from idp.principal.guards import public, requires_user
from idp.principal.model import Principal

_TAGS = ["Trying it out"]


class PublicTrial(Struct, frozen=True):
    """The public response (S4-15)."""

    message: str
    timestamp: datetime
    status: Literal["public"]


class ProtectedTrial(Struct, frozen=True):
    """The response for a signed-in user (S4-22)."""

    message: str
    user_id: str
    timestamp: datetime
    status: Literal["authenticated"]


@get("/api/auth/test/public", opt=public(), tags=_TAGS, summary="Public test endpoint", sync_to_thread=False)
def try_public() -> PublicTrial:
    """Respond to any client."""
    message = "This is a public endpoint - no authentication required"
    return PublicTrial(message=message, timestamp=clock.now(), status="public")


@get(
    "/api/auth/test/protected",
    guards=[requires_user],
    tags=_TAGS,
    summary="Protected test endpoint",
    sync_to_thread=False,
)
def try_protected(request: Request[Principal, Any, Any]) -> ProtectedTrial:
    """Greet the signed-in user."""
    user = request.user.user
    assert user is not None
    message = f"Hello {user.email or user.id}! This endpoint requires authentication."
    return ProtectedTrial(message=message, user_id=user.id, timestamp=clock.now(), status="authenticated")


ROUTES = (try_public, try_protected)
