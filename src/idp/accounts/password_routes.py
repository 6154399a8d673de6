"""Routes for passwords: request a reset, set by a link, change (S4-11, S4-12, SEC-6, SEC-10)."""

from litestar import Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from idp import errors
from idp.accounts.account_services import run_after_response
from idp.accounts.change_password import ChangePassword
from idp.accounts.credential_shapes import AddressIn, ChangePasswordIn, ResetIn
from idp.accounts.email_routes import COMMON
from idp.accounts.reset_password import ResetPassword
from idp.accounts.shapes import Message
from idp.audit.record import origin_of
from idp.ops.address_limits import checks_address
from idp.ops.openapi import responses
from idp.ops.security_headers import NO_STORE
from idp.principal.guards import accepts_shared_secret, public, requires_fresh_login, requires_user
from idp.principal.requests import AnyRequest, UserRequest, session_id_of

_PATH = "/api/auth/password"
_TAGS = ["Accounts"]


@post(
    f"{_PATH}/reset/request",
    opt=public(),
    before_request=checks_address("reset"),
    tags=_TAGS,
    summary="Request a password reset",
    status_code=200,
    responses=responses(*COMMON),
)
async def request_reset(
    request: AnyRequest, reset_password: NamedDependency[ResetPassword], data: JSONBody[AddressIn]
) -> Response[Message]:
    """Mail a link if the address has an account; earlier links are revoked. Response and timing are always the same."""
    origin = origin_of(request)
    recipient = await reset_password.request_link(data.email, origin, cookies=request.cookies)
    message = Message("If the email exists, a reset link has been sent")
    return Response(message, background=run_after_response(reset_password.send, recipient, origin))


@post(
    f"{_PATH}/reset/confirm",
    opt=public(),
    before_request=checks_address("link"),
    tags=_TAGS,
    summary="Set a new password with a reset link",
    status_code=200,
    cache_control=NO_STORE,
    responses=responses(errors.OneTimeTokenInvalid, errors.PasswordRejected, *COMMON),
)
async def confirm_reset(
    request: AnyRequest, reset_password: NamedDependency[ResetPassword], data: JSONBody[ResetIn]
) -> Message:
    """Set the password. All sessions, refresh tokens and other mailed links are revoked.

    A rejected password does not consume the link. Invitations set their first password here too.
    """
    await reset_password.confirm(data.token, data.new_password, origin_of(request))
    return Message("Password reset successfully")


@post(
    f"{_PATH}/change",
    guards=[requires_user, requires_fresh_login],
    opt=accepts_shared_secret(),
    tags=_TAGS,
    summary="Change my password",
    status_code=200,
    responses=responses(errors.InvalidCredentials, errors.PasswordRejected, errors.FreshLoginRequired, *COMMON),
)
async def replace_password(
    request: UserRequest, change_password: NamedDependency[ChangePassword], data: JSONBody[ChangePasswordIn]
) -> Message:
    """Set a new password. All other sessions and mailed links are revoked; this session continues."""
    await change_password.change(
        request.user,
        data.current_password,
        data.new_password,
        origin_of(request),
        keep=session_id_of(request),
    )
    return Message("Password changed successfully")


ROUTES = (request_reset, confirm_reset, replace_password)
