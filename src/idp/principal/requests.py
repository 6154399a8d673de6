"""Typed requests of routes after their guard has passed."""

from typing import Any
from uuid import UUID

from litestar import Request

from idp.principal.model import Principal

AnyRequest = Request[Any, Any, Any]
UserRequest = Request[Principal, Any, Any]  # on routes with `requires_user` or a similar guard


def user_id_of(request: UserRequest) -> str:
    """Return the caller's user id, on a route for users only."""
    assert request.user.user is not None
    return request.user.user.id


def session_id_of(request: UserRequest) -> UUID | None:
    """Return the session id of the caller's credential, if any."""
    session_id = request.user.credential.session_id
    return UUID(session_id) if session_id else None
