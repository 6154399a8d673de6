"""Sign-up and sign-in: POST /auth/register, /auth/login and /api/auth/login (S3-23 to S3-27, S4-10)."""

from litestar import Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody

from idp import errors
from idp.accounts.open_registration import OpenRegistration
from idp.accounts.shapes import LoginIn, RegisterIn, SessionOut
from idp.accounts.sign_in import SignIn
from idp.accounts.start_session import SessionMode, SessionStarter
from idp.audit.record import origin_of
from idp.ops.address_limits import checks_address
from idp.ops.openapi import responses
from idp.ops.problems import invalid
from idp.ops.rate_limit import Limiter
from idp.ops.rate_limit_rules import RateLimitRules
from idp.ops.security_headers import NO_STORE
from idp.principal.guards import public
from idp.principal.requests import AnyRequest
from idp.settings import Settings
from idp.signing.jwt import Family
from idp.users.email import parse_email

_TAGS = ["Accounts"]
_COMMON = (errors.ValidationFailed, errors.MalformedJson, errors.BodyTooLarge, errors.RateLimited,
           errors.DatabaseUnavailable, errors.Busy)  # fmt: skip


def _address(text: str) -> str:
    try:
        return parse_email(text)
    except ValueError as error:
        raise invalid(["body", "email"], str(error)) from None


@post(
    "/auth/register",
    opt=public(),
    before_request=checks_address("registration"),
    tags=_TAGS,
    summary="Register and sign in",
    status_code=200,
    cache_control=NO_STORE,
    responses=responses(errors.EmailTaken, errors.PasswordRejected, errors.CsrfRejected, *_COMMON),
)
async def register(
    request: AnyRequest,
    session_starter: NamedDependency[SessionStarter],
    open_registration: NamedDependency[OpenRegistration],
    limiter: NamedDependency[Limiter],
    rate_limit_rules: NamedDependency[RateLimitRules],
    data: JSONBody[RegisterIn],
    mode: SessionMode = "token",
) -> Response[SessionOut]:
    """Create an account in the default team and domain, and sign in at once, without e-mail verification."""
    session_starter.check_origin(request, mode)
    await limiter.check(rate_limit_rules.registration(origin_of(request).ip_address or ""))
    started = await open_registration.register(
        request,
        _address(data.email),
        data.password,
        data.name,
        family=Family.AUTH,
        mode=mode,
        device_info=data.device_info,
    )
    return started.response()


@post(
    "/auth/login",
    opt=public(),
    before_request=checks_address("login"),
    tags=_TAGS,
    summary="Sign in with e-mail and password",
    status_code=200,
    cache_control=NO_STORE,
    responses=responses(errors.InvalidCredentials, errors.CsrfRejected, *_COMMON),
)
async def login(
    request: AnyRequest,
    sign_in: NamedDependency[SignIn],
    settings: NamedDependency[Settings],
    data: JSONBody[LoginIn],
    mode: SessionMode = "token",
) -> Response[SessionOut]:
    """Start a session. Unknown address, wrong password and disabled account get the same 401."""
    verified_only = settings.accounts.require_email_verification
    started = await sign_in.log_in(request, data, mode, family=Family.AUTH, verified_only=verified_only)
    return started.response()


@post(
    "/api/auth/login",
    opt=public(),
    before_request=checks_address("login"),
    tags=_TAGS,
    summary="Sign in with a verified e-mail and password",
    status_code=200,
    cache_control=NO_STORE,
    responses=responses(errors.InvalidCredentials, errors.CsrfRejected, *_COMMON),
)
async def api_login(
    request: AnyRequest,
    sign_in: NamedDependency[SignIn],
    data: JSONBody[LoginIn],
    mode: SessionMode = "token",
) -> Response[SessionOut]:
    """Start a session like /auth/login, but only with a verified address; others get the same 401 (C-11)."""
    try:
        started = await sign_in.log_in(request, data, mode, family=Family.API_AUTH, verified_only=True)
    except errors.InvalidCredentials:
        raise errors.InvalidCredentials("Invalid credentials") from None  # S4-10 reads this text
    return started.response()


ROUTES = (register, login, api_login)
