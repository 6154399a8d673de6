"""The route with which an administrator acts as a user for support."""

from typing import Annotated

from litestar import post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Meta, Struct

from idp import errors
from idp.accounts.act_for_support import ActForSupport, SupportReason
from idp.accounts.start_session import SessionStarter
from idp.audit.record import origin_of
from idp.authn.shapes import Act
from idp.ops.openapi import responses
from idp.ops.security_headers import NO_STORE
from idp.principal.guards import requires_admin, requires_fresh_login
from idp.principal.requests import UserRequest
from idp.signing.jwt import Family


class ActIn(Struct, frozen=True, forbid_unknown_fields=True):
    """Why an administrator acts as a user."""

    reason: SupportReason


class SupportSessionOut(Struct, frozen=True):
    """A session of support: its access token reads and changes nothing, and nothing extends it."""

    access_token: str
    token_type: str
    expires_in: Annotated[int, Meta(description="Seconds.")]
    user_id: str
    session_id: str
    act: Act

    def __repr__(self) -> str:
        return f"SupportSessionOut(user_id={self.user_id})"


@post(
    "/api/auth/admin/users/{user_id:str}/act",
    guards=[requires_admin, requires_fresh_login],
    tags=["Administration"],
    summary="Act as a user for support",
    status_code=201,
    cache_control=NO_STORE,
    responses=responses(
        errors.AdminRequired,
        errors.FreshLoginRequired,
        errors.SupportSession,
        errors.CannotActForUser,
        errors.UserNotFound,
        errors.ValidationFailed,
        errors.MalformedJson,
        errors.BodyTooLarge,
        errors.DatabaseUnavailable,
    ),
)
async def act_as_user(
    request: UserRequest,
    act_for_support: NamedDependency[ActForSupport],
    session_starter: NamedDependency[SessionStarter],
    user_id: FromPath[str],
    data: JSONBody[ActIn],
) -> SupportSessionOut:
    """Start a session of support, with an audit record, and tell the user by mail who acts, when and why.

    The access token has the claim `act`. It is refused for every change, and ends with the administrator's role.
    """
    started = await act_for_support.start(request.user, user_id, data.reason, origin_of(request))
    answer = await session_starter.answer(started.user, started.login, Family.API_AUTH, "")
    return SupportSessionOut(
        access_token=answer.access_token,
        token_type="Bearer",  # noqa: S106
        expires_in=answer.expires_in,
        user_id=answer.user_id,
        session_id=answer.session_id,
        act=Act(request.user.user_id),
    )


ROUTES = (act_as_user,)
