"""POST /auth/register and POST /auth/login (S3-23 to S3-27)."""

from typing import Any

from litestar import Request, post
from litestar.datastructures import CacheControlHeader
from litestar.di import NamedDependency
from litestar.params import JSONBody
from sqlalchemy.ext.asyncio import AsyncSession

from idp import errors
from idp.accounts.shapes import LoginIn, RegisterIn, SessionOut
from idp.accounts.sign_in import SignIn
from idp.accounts.sign_up import create_account
from idp.audit.record import origin_of
from idp.authn.resolve import load_user
from idp.authn.shapes import UserOut
from idp.db.engine import Database
from idp.ops.openapi import responses
from idp.ops.problems import invalid
from idp.ops.rate_limit import Limiter, LoginRules
from idp.principal.guards import public
from idp.principal.model import User
from idp.settings import Settings
from idp.signing.jwt import Family, IssuedToken, TokenService, TokenUser
from idp.users.email import parse_email
from idp.users.passwords import Passwords

_TAGS = ["Accounts"]
NO_STORE = CacheControlHeader(no_store=True)  # RFC 6749 section 5.1
_COMMON = (errors.ValidationFailed, errors.MalformedJson, errors.BodyTooLarge, errors.RateLimited,
           errors.DatabaseUnavailable, errors.Busy)  # fmt: skip
AnyRequest = Request[Any, Any, Any]


@post(
    "/auth/register",
    opt=public(),
    tags=_TAGS,
    summary="Make an account and sign in",
    status_code=200,
    cache_control=NO_STORE,
    responses=responses(errors.EmailTaken, errors.PasswordRejected, *_COMMON),
)
async def register(
    request: AnyRequest,
    database: NamedDependency[Database],
    passwords: NamedDependency[Passwords],
    tokens: NamedDependency[TokenService],
    settings: NamedDependency[Settings],
    limiter: NamedDependency[Limiter],
    login_rules: NamedDependency[LoginRules],
    data: JSONBody[RegisterIn],
) -> SessionOut:
    """Make an account, which joins the default team and domain, and sign in at once. No verified e-mail is needed."""
    origin = origin_of(request)
    rule = login_rules.registration(origin.ip_address or "")
    await limiter.check(rule)
    try:
        email = parse_email(data.email)
    except ValueError as error:
        raise invalid(["body", "email"], str(error)) from None
    passwords.check_policy(data.password, email=email)
    await limiter.count(rule)
    password_hash = await passwords.hash(data.password)
    async with database.transaction() as session:
        user_id = await create_account(
            session, settings.accounts, origin, email=email, name=data.name, password_hash=password_hash
        )
        user, token = await _issue(session, tokens, user_id)
    return _answer(user, token, "Registration successful")


@post(
    "/auth/login",
    opt=public(),
    tags=_TAGS,
    summary="Sign in with e-mail and password",
    status_code=200,
    cache_control=NO_STORE,
    responses=responses(errors.InvalidCredentials, *_COMMON),
)
async def login(
    request: AnyRequest,
    database: NamedDependency[Database],
    sign_in: NamedDependency[SignIn],
    tokens: NamedDependency[TokenService],
    data: JSONBody[LoginIn],
) -> SessionOut:
    """Answer with an access token. Unknown address, wrong password and disabled account get the same 401."""
    user_id = await sign_in.with_password(data.email, data.password, origin_of(request))
    async with database.transaction() as session:
        user, token = await _issue(session, tokens, user_id)
    return _answer(user, token, "Login successful")


async def _issue(session: AsyncSession, tokens: TokenService, user_id: str) -> tuple[User, IssuedToken]:
    user = await load_user(session, user_id)
    about = TokenUser(id=user.id, email=user.email, email_verified=user.email_verified, roles=user.roles)
    return user, await tokens.issue(about, Family.AUTH)


def _answer(user: User, token: IssuedToken, message: str) -> SessionOut:
    return SessionOut(
        access_token=token.token,
        token_type="bearer",  # noqa: S106
        expires_in=token.expires_in,
        user_id=user.id,
        message=message,
        user=UserOut.of(user),
    )


ROUTES = (register, login)
