"""Routes for e-mail addresses: register, verify, change (S4-09, S4-13, S4-14, SEC-6)."""

import re
from typing import Annotated
from urllib.parse import quote

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import JSONBody, QueryParameter
from litestar.response import Redirect
from msgspec import UNSET, structs

from idp import errors
from idp.accounts.account_services import run_after_response
from idp.accounts.change_email import ChangeEmail
from idp.accounts.credential_shapes import (
    ChangeEmailIn,
    ConfirmEmailIn,
    RegisterEmailIn,
    RegisterEmailOut,
    ResendIn,
    VerifiedOut,
    VerifyIn,
)
from idp.accounts.register_email import RegisterEmail
from idp.accounts.shapes import Message, SessionOut
from idp.accounts.start_session import Begun, Mode, SessionMode, SessionStarter, StartedSession, require_started
from idp.accounts.verify_email import VerifyEmail
from idp.audit.record import origin_of
from idp.db.engine import Database
from idp.ops.address_limits import checks_address
from idp.ops.openapi import responses
from idp.ops.problems import invalid
from idp.ops.rate_limit import Limiter
from idp.ops.rate_limit_rules import RateLimitRules
from idp.ops.security_headers import NO_STORE
from idp.principal.guards import accepts_shared_secret, public, requires_fresh_login, requires_user
from idp.principal.requests import AnyRequest, UserRequest, session_id_of
from idp.signing.jwt import Family
from idp.users.email import parse_email

_TAGS = ["Accounts"]
COMMON = (errors.ValidationFailed, errors.MalformedJson, errors.BodyTooLarge, errors.RateLimited,
          errors.DatabaseUnavailable, errors.Busy)  # fmt: skip
_VERIFY = "/api/auth/email/verify"
_CLEARED = (
    "The password set before this address was verified may have been chosen by someone else, so it was cleared. "
    "Set a new one: POST /api/auth/password/reset/request with this address mails a link."
)
_BY_MAIL = ("email",)  # authentication method; RFC 8176 has no value for it
_ACCEPTS_JSON = re.compile(r"(^|,)\s*application/json\s*(;|,|$)", re.IGNORECASE)
LinkParameter = Annotated[str, QueryParameter(max_length=4096, description="The token from the link in the mail.")]


@post(
    "/api/auth/email/register",
    opt=public(),
    before_request=checks_address("registration"),
    tags=_TAGS,
    summary="Register, with e-mail verification",
    status_code=200,
    cache_control=NO_STORE,
    responses=responses(errors.PasswordRejected, *COMMON),
)
async def register_by_email(
    request: AnyRequest,
    limiter: NamedDependency[Limiter],
    rate_limit_rules: NamedDependency[RateLimitRules],
    register_email: NamedDependency[RegisterEmail],
    data: JSONBody[RegisterEmailIn],
) -> RegisterEmailOut:
    """Create an account and mail a link that verifies the address; before that, /api/auth refuses the sign-in.

    The response is the same for an address that has an account; only the mail differs.
    """
    origin = origin_of(request)
    rule = rate_limit_rules.registration(origin.ip_address or "")
    await limiter.check(rule)
    email = _parse(data.email, "email")
    await limiter.take(rule)
    await register_email.register(email, data.password, origin)
    return RegisterEmailOut("Registration successful. Please check your email for verification.", email)


@post(
    _VERIFY,
    opt=public(),
    before_request=checks_address("link"),
    tags=_TAGS,
    summary="Verify an e-mail address and sign in",
    status_code=200,
    cache_control=NO_STORE,
    responses=responses(errors.OneTimeTokenInvalid, errors.CsrfRejected, *COMMON),
)
async def verify_address(
    request: AnyRequest,
    database: NamedDependency[Database],
    verify_email: NamedDependency[VerifyEmail],
    session_starter: NamedDependency[SessionStarter],
    data: JSONBody[VerifyIn],
    mode: SessionMode = "token",
) -> Response[SessionOut]:
    """Consume the link of the mail and start a session.

    The first verification claims the account: sessions and API keys from before are revoked. The password is cleared
    too, unless it was set by the registration that the link belongs to.
    """
    session_starter.check_origin(request, mode)
    started = await _verify(request, database, verify_email, session_starter, data, mode=mode)
    return started.response()


@get(
    _VERIFY,
    opt=public() | {"changes": True},
    tags=_TAGS,
    summary="Follow a verification link",
    cache_control=NO_STORE,
    responses=responses(errors.OneTimeTokenInvalid, *COMMON)
    | {303: ResponseSpec(None, description="To the page that asks.", generate_examples=False)},
)
async def follow_link(
    request: AnyRequest,
    database: NamedDependency[Database],
    verify_email: NamedDependency[VerifyEmail],
    session_starter: NamedDependency[SessionStarter],
    token: LinkParameter,
) -> Response[VerifiedOut] | Redirect:
    """Do the same as POST for `Accept: application/json`; other clients are redirected to the page.

    Programs that follow links automatically, such as mail scanners, do not request JSON, so they consume nothing
    (C-31).
    """
    if not _ACCEPTS_JSON.search(request.headers.get("accept", "")):
        page = f"/verify-email?token={quote(token, safe='')}"
        return Redirect(page, status_code=303, headers={"Vary": "Accept"})
    started = require_started(await _verify(request, database, verify_email, session_starter, VerifyIn(token)))
    answer = VerifiedOut(**structs.asdict(started.answer), redirect_url=verify_email.front_end)
    return Response(answer, headers={"Vary": "Accept"})


async def _verify(
    request: AnyRequest,
    database: Database,
    verify_email: VerifyEmail,
    session_starter: SessionStarter,
    data: VerifyIn,
    *,
    mode: Mode = "token",
) -> Begun:
    origin = origin_of(request)
    link = await verify_email.check_link(data.token, origin)
    async with database.transaction() as session:
        holder = await verify_email.verify(session, data.token, link, origin, cookies=request.cookies)
        started = await session_starter.start(
            session,
            request,
            holder.user_id,
            family=Family.API_AUTH,
            message="Email verified successfully",
            password_version=holder.password_version,
            amr=_BY_MAIL,
            device_info=data.device_info,
            mode=mode,
        )
    if not isinstance(started, StartedSession):
        return started
    is_set = holder.password_hash is not None
    answer = structs.replace(started.answer, password_set=is_set, password_cleared=UNSET if is_set else _CLEARED)
    return structs.replace(started, answer=answer)


@post(
    f"{_VERIFY}/resend",
    opt=public(),
    before_request=checks_address("verification"),
    tags=_TAGS,
    summary="Resend the verification mail",
    status_code=200,
    responses=responses(*COMMON),
)
async def resend_verification(
    request: AnyRequest, verify_email: NamedDependency[VerifyEmail], data: JSONBody[ResendIn]
) -> Response[Message]:
    """Mail a new link if the address is unverified; earlier links are revoked. The response is always the same."""
    recipient = await verify_email.request_resend(data.email, origin_of(request), cookies=request.cookies)
    message = Message("If the email waits to be verified, a new link has been sent")
    return Response(message, background=run_after_response(verify_email.resend, recipient))


@post(
    "/api/auth/email/change",
    guards=[requires_user, requires_fresh_login],
    opt=accepts_shared_secret(),
    tags=_TAGS,
    summary="Request a change of e-mail address",
    status_code=200,
    responses=responses(errors.InvalidCredentials, errors.FreshLoginRequired, *COMMON),
)
async def request_email_change(
    request: UserRequest, change_email: NamedDependency[ChangeEmail], data: JSONBody[ChangeEmailIn]
) -> Message:
    """Mail a link to the new address and a notice to the current one. The response is the same for a taken address."""
    email = _parse(data.new_email, "new_email")
    session_id = session_id_of(request)
    await change_email.request_link(
        request.user, data.current_password, email, origin_of(request), session_id=session_id
    )
    return Message("Please check your new email for a confirmation link")


@post(
    "/api/auth/email/change/confirm",
    guards=[requires_user, requires_fresh_login],
    opt=accepts_shared_secret(),
    tags=_TAGS,
    summary="Confirm the new e-mail address",
    status_code=200,
    responses=responses(errors.OneTimeTokenInvalid, errors.FreshLoginRequired, *COMMON),
)
async def confirm_email_change(
    request: UserRequest, change_email: NamedDependency[ChangeEmail], data: JSONBody[ConfirmEmailIn]
) -> Message:
    """Set the new address. All other sessions end, and the old address gets a notice."""
    await change_email.confirm(data.token, origin_of(request), caller=request.user, keep=session_id_of(request))
    return Message("Email changed successfully")


def _parse(email: str, member: str) -> str:
    try:
        return parse_email(email)
    except ValueError as error:
        raise invalid(["body", member], str(error)) from None


ROUTES = (
    register_by_email,
    verify_address,
    follow_link,
    resend_verification,
    request_email_change,
    confirm_email_change,
)
