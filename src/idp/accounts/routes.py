"""Sign-up and sign-in: POST /auth/register, /auth/login and /api/auth/login (S3-23 to S3-27, S4-10)."""

from litestar import Response, post
from litestar.di import NamedDependency
from litestar.params import JSONBody
from sqlalchemy.ext.asyncio import AsyncSession

from idp import errors
from idp.accounts.shapes import LoginIn, RegisterIn, SessionOut
from idp.accounts.sign_in import PASSWORD, SignIn
from idp.accounts.sign_up import create_account
from idp.accounts.start_session import SessionMode, SessionStarter, StartedSession
from idp.audit.record import origin_of
from idp.db.engine import Database
from idp.ops.address_limits import checks_address
from idp.ops.openapi import responses
from idp.ops.problems import invalid
from idp.ops.rate_limit import Limiter
from idp.ops.rate_limit_rules import RateLimitRules
from idp.ops.security_headers import NO_STORE
from idp.principal.guards import public
from idp.principal.requests import AnyRequest
from idp.sessions.known_devices import KnownDevices
from idp.settings import Settings
from idp.signing.jwt import Family
from idp.users.credentials import FIRST_PASSWORD
from idp.users.email import parse_email
from idp.users.passwords import Passwords

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
    database: NamedDependency[Database],
    passwords: NamedDependency[Passwords],
    session_starter: NamedDependency[SessionStarter],
    settings: NamedDependency[Settings],
    limiter: NamedDependency[Limiter],
    rate_limit_rules: NamedDependency[RateLimitRules],
    known_devices: NamedDependency[KnownDevices],
    data: JSONBody[RegisterIn],
    mode: SessionMode = "token",
) -> Response[SessionOut]:
    """Create an account in the default team and domain, and sign in at once, without e-mail verification."""
    session_starter.check_origin(request, mode)
    origin = origin_of(request)
    rule = rate_limit_rules.registration(origin.ip_address or "")
    await limiter.check(rule)
    email = _address(data.email)
    passwords.check_address(email)
    passwords.check_policy(data.password, email=email, name=data.name)
    await limiter.take(rule)
    password_hash = await passwords.hash(data.password, asker=origin.ip_address)

    async def start(session: AsyncSession) -> tuple[str, StartedSession]:
        user_id = await create_account(
            session, settings.accounts, origin, email=email, name=data.name, password_hash=password_hash
        )
        return user_id, await session_starter.start(
            session,
            request,
            user_id,
            family=Family.AUTH,
            message="Registration successful",
            password_version=FIRST_PASSWORD,
            amr=PASSWORD,
            device_info=data.device_info,
            mode=mode,
        )

    user_id, started = await database.transact(start)
    # So that a verification in this browser proves that it set the password (C-11).
    known = known_devices.remember(request.cookies, user_id, password_version=FIRST_PASSWORD)
    return started.with_cookie(known).response()


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
