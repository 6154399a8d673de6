"""Sign-in with a password: an unknown user, a wrong password and a disabled account look the same (SEC-9)."""

from typing import Any, NoReturn

from litestar import Request

from idp.accounts.begin import Begun, Mode, SessionStarter
from idp.accounts.shapes import LoginIn
from idp.audit.record import Origin, origin_of, record
from idp.db.engine import Database
from idp.errors import InvalidCredentials
from idp.ops import metrics
from idp.ops.rate_limit import Limiter, LoginRules
from idp.signing.jwt import Family
from idp.users import credentials
from idp.users import service as users
from idp.users.credentials import Holder
from idp.users.email import email_key
from idp.users.passwords import Passwords

PASSWORD = ("pwd",)  # RFC 8176


class SignIn:
    """Checks e-mail and password, and begins a session."""

    def __init__(
        self,
        database: Database,
        passwords: Passwords,
        limiter: Limiter,
        rules: LoginRules,
        starter: SessionStarter,
    ) -> None:
        self._database = database
        self._passwords = passwords
        self._limiter = limiter
        self._rules = rules
        self._starter = starter

    async def log_in(
        self, request: Request[Any, Any, Any], data: LoginIn, mode: Mode, *, family: Family, verified_only: bool
    ) -> Begun:
        """Begin a session of whoever has this address and this password.

        Args:
            request: who asks, and from where.
            data: what was typed.
            mode: whether a refresh token continues the session, or a cookie.
            family: whose clients read the tokens.
            verified_only: refuse who has not verified the address, like anybody else who may not sign in (C-11).

        Raises:
            InvalidCredentials: nobody has, or the account is disabled.
            RateLimited: too many failed attempts came before.
            Busy: too many passwords wait to be checked.
            CsrfRejected: with `mode` "cookie", a page of another site asks.
        """
        self._starter.check_origin(request, mode)
        holder = await self._check(data, origin_of(request), verified_only=verified_only)
        async with self._database.transaction() as session:
            begun = await self._starter.begin(
                session,
                request,
                holder.user_id,
                family=family,
                message="Login successful",
                password_version=holder.password_version,
                amr=PASSWORD,
                remember=data.remember_me,
                device_info=data.device_info,
                mode=mode,
            )
        metrics.count_attempt(method="password", outcome="authenticated")
        return begun

    async def _check(self, data: LoginIn, origin: Origin, *, verified_only: bool) -> Holder:
        (pair, key), *wider = self._rules.login(email_key(data.email), origin.ip_address or "")
        async with self._limiter.attempt(pair, key, *wider) as attempt:
            async with self._database.transaction() as session:
                holder = await credentials.find_by_email(session, data.email)
            check = await self._passwords.check(holder.password_hash if holder else None, data.password)
            if (
                holder is None
                or not check.fits
                or not holder.is_active
                or (verified_only and not holder.email_verified)
            ):
                attempt.fail()
                await self._refuse(holder.user_id if holder else None, origin)
        if check.rehashed and holder.password_hash:
            async with self._database.transaction() as session:
                await users.replace_hash(session, holder.user_id, old=holder.password_hash, new=check.rehashed)
        return holder

    async def _refuse(self, user_id: str | None, origin: Origin) -> NoReturn:
        """Record the failure, commit, and only then refuse: a refusal must not roll its own record back (rule 4)."""
        async with self._database.transaction() as session:
            record(session, origin, action="user.sign_in_failed", user_id=user_id, details={"method": "password"})
        metrics.count_attempt(method="password", outcome="invalid_credentials")
        raise InvalidCredentials
