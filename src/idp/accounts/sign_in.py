"""Sign-in with a password: an unknown user, a wrong password and a disabled account look the same (SEC-9)."""

import asyncio
from typing import Any, NoReturn

from litestar import Request
from sqlalchemy.ext.asyncio import AsyncSession

from idp import clock
from idp.accounts.account_services import AccountServices
from idp.accounts.shapes import LoginIn
from idp.accounts.start_session import Begun, Mode, SessionStarter, StartedSession
from idp.accounts.wrong_passwords import count_wrong_password
from idp.audit.record import Origin, origin_of, record
from idp.errors import Busy, InvalidCredentials, SecondFactorRequired
from idp.mail.messages import NewDevice
from idp.mail.outbox import Mailer
from idp.mail.user_text import device_name
from idp.ops import metrics
from idp.signing.jwt import Family
from idp.users import credentials
from idp.users import service as users
from idp.users.credentials import Holder
from idp.users.email import email_key

PASSWORD = ("pwd",)  # RFC 8176


class SignIn:
    """Checks e-mail and password, and starts a session."""

    def __init__(self, services: AccountServices, starter: SessionStarter) -> None:
        self._database = services.database
        self._passwords = services.passwords
        self._limiter = services.limiter
        self._rules = services.rules
        self._devices = services.devices
        self._mailer = services.mailer
        self._starter = starter

    async def log_in(
        self, request: Request[Any, Any, Any], data: LoginIn, mode: Mode, *, family: Family, verified_only: bool
    ) -> Begun:
        """Start a session for the user with this address and password, or let the sign-in wait for the second factor.

        Args:
            request: the request.
            data: the entered credentials.
            mode: whether a refresh token or a cookie continues the session.
            family: the token format.
            verified_only: refuse unverified addresses, with the same error (C-11).

        Raises:
            InvalidCredentials: unknown address, wrong password or disabled account.
            PasswordsRefused: the address is of a domain whose people sign in elsewhere.
            RateLimited: too many failed attempts.
            Busy: the password queue is full.
            CsrfRejected: with `mode` "cookie", the request comes from another site.
        """
        self._starter.check_origin(request, mode)
        origin = origin_of(request)
        self._passwords.check_domain(data.email)
        holder = await credentials.look_up(self._database.reads, data.email)
        device = self._find_device(request, holder)
        holder = await self._check(data, holder, origin, device=device, verified_only=verified_only)

        async def start(session: AsyncSession) -> Begun:
            started = await self._starter.start(
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
                max_failures=self._rules.consecutive_failures if device is None else None,
            )
            if isinstance(started, StartedSession) and started.is_new_device and device is None:
                await notify_new_device(session, self._mailer, holder, origin, data.device_info)
            return started

        started = await self._database.transact(start)
        if not isinstance(started, StartedSession):
            metrics.count_attempt(method="password", outcome=SecondFactorRequired.code)
            return started
        metrics.count_attempt(method="password", outcome="authenticated")
        cookie = self._devices.remember(request.cookies, holder.user_id, password_version=holder.password_version)
        return started.with_cookie(cookie)

    def _find_device(self, request: Request[Any, Any, Any], holder: Holder | None) -> str | None:
        if holder is None:
            return None
        return self._devices.find(request.cookies, holder.user_id, password_version=holder.password_version)

    async def _check(
        self, data: LoginIn, holder: Holder | None, origin: Origin, *, device: str | None, verified_only: bool
    ) -> Holder:
        account = email_key(data.email)
        (pair, key), *wider = self._rules.login(account, origin.ip_address or "", device=device)
        async with self._limiter.attempt(pair, key, *wider) as attempt:
            stored = holder.password_hash if holder else None
            check = await self._passwords.check(stored, data.password, asker=origin.ip_address)
            if (
                holder is None
                or not check.matches
                or not holder.is_active
                or (verified_only and not holder.email_verified)
                or (device is None and holder.failures >= self._rules.consecutive_failures)
            ):
                attempt.fail()
                await self._refuse(holder, origin, was_wrong=not check.matches, unverifiable=check.unverifiable)
        if check.is_weak and holder.password_hash:
            await self._rehash(holder, holder.password_hash, data.password, origin)
        return holder

    async def _rehash(self, holder: Holder, old: str, password: str, origin: Origin) -> None:
        """Rehash the password with current parameters; skipped if the queue is full."""
        try:
            new = await self._passwords.hash(password, asker=origin.ip_address)
        except Busy:
            return
        async with self._database.transaction() as session:
            await users.replace_hash(session, holder.user_id, old=old, new=new)

    async def _refuse(
        self, holder: Holder | None, origin: Origin, *, was_wrong: bool, unverifiable: str | None
    ) -> NoReturn:
        """Record the failure, commit, then raise, so that the error does not roll back its record (rule 4)."""
        user_id = holder.user_id if holder else None

        async def keep(session: AsyncSession) -> None:
            details = {"method": "password"} | ({"stored_password": unverifiable} if unverifiable else {})
            record(session, origin, action="user.sign_in_failed", user_id=user_id, details=details)
            guessed = holder if was_wrong else None
            await count_wrong_password(session, self._mailer, guessed, limit=self._rules.consecutive_failures)

        await self._database.transact(keep)
        metrics.count_attempt(method="password", outcome="invalid_credentials")
        raise InvalidCredentials


async def notify_new_device(
    session: AsyncSession, mailer: Mailer, holder: Holder, origin: Origin, device_info: object
) -> None:
    """Tell a user by mail about a sign-in from a new device."""
    if holder.email is not None and holder.email_verified:
        mailer.post(session, await _notice(holder, origin, device_info), to=holder.email)


async def _notice(holder: Holder, origin: Origin, device_info: object) -> NewDevice:
    device = await asyncio.to_thread(device_name, origin.user_agent, device_info)  # the first call loads large tables
    return NewDevice(name=holder.name, at=clock.now(), device=device, ip_address=origin.ip_address)
