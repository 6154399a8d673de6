"""Requests, as routes see them once their guard has let the caller in."""

from typing import Any
from uuid import UUID

from litestar import Request

from idp.principal.model import Principal

AnyRequest = Request[Any, Any, Any]
UserRequest = Request[Principal, Any, Any]  # on routes with `requires_user` or one of its kind


def user_id_of(request: UserRequest) -> str:
    """Return who asks, on a route that only people may call."""
    assert request.user.user is not None
    return request.user.user.id


def session_id_of(request: UserRequest) -> UUID | None:
    """Return the session that the caller's credential belongs to, if any."""
    session_id = request.user.credential.session_id
    return UUID(session_id) if session_id else None
