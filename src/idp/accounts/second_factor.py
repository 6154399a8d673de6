"""The second factor: it finishes a sign-in that waits, or makes the session of a user stronger (step-up, RFC 9470).

A wrong code is counted like a wrong password: for the user and the address, for a known device by itself, and in a row
(SEC-8). A wrong, an old and a used code have the same error.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any
from uuid import UUID

from msgspec import Struct
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from idp import clock
from idp.accounts.account_services import AccountServices
from idp.accounts.pending_sign_ins import FoundSignIn, PendingSignIns
from idp.accounts.sign_in import notify_new_device
from idp.accounts.start_session import Mode, SessionStarter, StartedSession, StartOf
from idp.accounts.wrong_passwords import count_wrong_password
from idp.audit.record import Origin, origin_of, record
from idp.errors import (
    FreshLoginRequired,
    NoSecondFactor,
    PasskeyCloned,
    PasskeyRejected,
    PasskeyUnknown,
    SecondFactorInvalid,
    SignInExpired,
)
from idp.mail.messages import RecoveryCodeUsed
from idp.ops import metrics
from idp.principal.model import MULTI_FACTOR, TWO_FACTORS, Principal
from idp.principal.reauthorize import reauthorize
from idp.principal.requests import AnyRequest
from idp.sessions import apps
from idp.sessions import service as sessions
from idp.sessions.models import SessionRow
from idp.signing.jwt import Family
from idp.users import credentials, sign_in_failures
from idp.users.credentials import Holder
from idp.users.factors.enrolled import overview
from idp.users.factors.passkey_authentication import PasskeyAuthentication
from idp.users.factors.passkeys import record_clone
from idp.users.factors.recovery_codes import RecoveryCodes
from idp.users.factors.totp import Totp, only_code

_OTP = ("otp",)  # RFC 8176: a code of an authenticator app, or of the list that the user keeps
_MOST_DIGITS = 8  # of a code of an authenticator app
# The table by name, because `federation` stands above.
_MOVE_LOGIN = text("UPDATE idp.federated_sessions SET session_id = :to WHERE session_id = :of")


class Proof(Struct, frozen=True):
    """A second factor that was proved.

    Attributes:
        method: "totp", "recovery_code" or "passkey".
        amr: authentication methods (RFC 8176).
    """

    method: str
    amr: tuple[str, ...] = _OTP


# Checks what the user sent, in a transaction that holds the user; None if it proves nothing.
Prove = Callable[[AsyncSession, Holder], Awaitable[Proof | None]]
KeepLogin = Callable[[AsyncSession, FoundSignIn, UUID], Awaitable[None]]


class SecondFactor:
    """Checks second factors.

    Args:
        services: shared dependencies of account flows.
        starter: starts sessions.
        totp: checks authenticator apps.
        recovery_codes: checks recovery codes.
        passkeys: checks passkeys.
        keep_login: keeps what belongs to a sign-in through another provider.
    """

    def __init__(
        self,
        services: AccountServices,
        starter: SessionStarter,
        totp: Totp,
        recovery_codes: RecoveryCodes,
        passkeys: PasskeyAuthentication,
        keep_login: KeepLogin,
    ) -> None:
        self._services = services
        self._starter = starter
        self._totp = totp
        self._recovery_codes = recovery_codes
        self._passkeys = passkeys
        self._keep_login = keep_login

    @property
    def pending_sign_ins(self) -> PendingSignIns:
        """The sign-ins that wait."""
        return self._starter.pending_sign_ins

    def by_code(self, code: str) -> Prove:
        """Return what checks a code: of an authenticator app if it has only digits, else a recovery code."""
        entered = only_code(code)

        async def prove(session: AsyncSession, holder: Holder) -> Proof | None:
            if entered.isdecimal() and entered.isascii() and len(entered) <= _MOST_DIGITS:
                return Proof("totp") if await self._totp.check(session, holder.user_id, entered) else None
            if not await self._recovery_codes.use(session, holder.user_id, entered):
                return None
            left = await self._recovery_codes.left(session, holder.user_id)
            if holder.email is not None:
                mail = RecoveryCodeUsed(name=holder.name, at=clock.now(), left=left)
                self._services.mailer.post(session, mail, to=holder.email)
            return Proof("recovery_code")

        return prove

    def by_passkey(self, credential: dict[str, Any], origin: Origin, *, verifies_user: bool) -> Prove:
        """Return what checks a passkey of the user.

        Args:
            credential: what the browser returned, in JSON.
            origin: of the request.
            verifies_user: require that the authenticator has verified its user, as a step-up does.
        """

        async def prove(session: AsyncSession, holder: Holder) -> Proof | None:
            try:
                verified = await self._passkeys.verify(
                    session, credential, user_id=holder.user_id, verifies_user=verifies_user
                )
            except PasskeyCloned as error:
                await record_clone(session, origin, error)
                return None
            except (PasskeyRejected, PasskeyUnknown):
                return None
            return Proof("passkey", verified.methods)

        return prove

    async def passkey_options(self, user_id: str, *, verifies_user: bool) -> dict[str, Any]:
        """Return the options for the passkeys of a user, as `PasskeyAuthentication.second_factor_options`."""
        async with self._services.database.transaction() as session:
            return await self._passkeys.second_factor_options(session, user_id, verifies_user=verifies_user)

    async def find(self, presented_token: str) -> FoundSignIn | None:
        """Return the sign-in that waits with this token, None if it is over."""
        async with self._services.database.transaction() as session:
            return await self.pending_sign_ins.find(session, presented_token)

    async def find_within_limits(
        self, request: AnyRequest, presented_token: str, *, enrols: bool = False
    ) -> FoundSignIn:
        """Return the sign-in that waits with this token; wrong tokens are counted by address.

        Raises:
            SignInExpired: it is over, or waits for something else.
            RateLimited: too many wrong tokens from this address.
        """
        bad_token = self._services.rules.bad_link(origin_of(request).ip_address or "")
        await self._services.limiter.check(bad_token)
        found = await self.find(presented_token)
        if found is None or found.details.enrols != enrols:
            await self._services.limiter.count(bad_token)
            raise SignInExpired
        return found

    async def complete(
        self, request: AnyRequest, presented_token: str, prove: Prove, *, enrols: bool = False
    ) -> StartedSession:
        """Finish a sign-in that waits: start its session.

        Args:
            request: with the second factor.
            presented_token: of the sign-in.
            prove: checks the second factor.
            enrols: whether `prove` sets one up, for a sign-in that waits for that.

        Raises:
            SignInExpired: it is finished or expired, had too many wrong codes, or its user was disabled or changed the
                password.
            SecondFactorInvalid: the code is wrong, old or used.
            RateLimited: too many wrong codes.
            CsrfRejected: a cookie is to continue the session, and another site sent the request (SEC-44).
        """
        origin = origin_of(request)
        found = await self.find_within_limits(request, presented_token, enrols=enrols)
        self._starter.check_origin(request, "cookie" if found.details.mode == "cookie" else "token")
        version = found.password_version
        device = self._services.devices.find(request.cookies, found.user_id, password_version=version)
        work = partial(self._finish, request, presented_token, prove, device)
        started = await self._attempt(found.user_id, origin, device, work)
        cookie = self._services.devices.remember(request.cookies, found.user_id, password_version=version)
        return started.with_cookie(cookie)

    async def _finish(
        self, request: AnyRequest, presented_token: str, prove: Prove, device: str | None, session: AsyncSession
    ) -> StartedSession | None:
        """Start the session; None after a wrong code, which is counted."""
        origin, pending = origin_of(request), self.pending_sign_ins
        found = await pending.find(session, presented_token)
        holder = await credentials.hold(session, found.user_id) if found else None
        found = await pending.find(session, presented_token, lock=True)
        if found is None or holder is None or holder.password_version != found.password_version:
            raise SignInExpired
        if found.details.enrols and (await overview(session, holder.user_id)).has_any:
            raise SignInExpired  # a factor was set up meanwhile, which this sign-in has not proved
        limit, failures = (
            self._services.rules.consecutive_failures,
            await sign_in_failures.read(session, holder.user_id),
        )
        is_locked = device is None and failures >= limit
        proof = None if is_locked else await prove(session, holder)
        if proof is None:
            await pending.count_wrong_code(session, found)
            await self._record_wrong_code(session, origin, holder)
            return None
        await pending.finish(session, found)
        details = found.details
        start = StartOf(
            found.user_id,
            found.password_version,
            _with(found.amr, proof),
            found.remember,
            details.device_info,
            details.mode,
            details.family,
            details.message,
        )
        started = await self._starter.start_now(session, request, start, acr=TWO_FACTORS)
        if started is None:
            raise SignInExpired
        await self._keep_login(session, found, started.session_id)
        _record_proof(session, origin, holder, proof)
        if started.is_new_device and device is None:
            await notify_new_device(session, self._services.mailer, holder, origin, details.device_info)
        return started

    async def step_up(self, request: AnyRequest, principal: Principal, prove: Prove, *, mode: Mode) -> StartedSession:
        """Replace the session of a user by a stronger one, with its apps.

        Args:
            request: with the second factor.
            principal: the caller, whose sign-in is recent.
            prove: checks the second factor.
            mode: whether a refresh token or a cookie continues the new session.

        Raises:
            FreshLoginRequired: the caller has no session, or the sign-in is too old.
            NoSecondFactor: the user has none.
            SecondFactorInvalid: the code is wrong, old or used.
            RateLimited: too many wrong codes.
            TokenRevoked, UserInactive: the session ended meanwhile.
        """
        session_id, signed_in_at = principal.credential.session_id, principal.credential.auth_time
        oldest = self._services.settings.fresh_login_seconds
        if session_id is None or signed_in_at is None or (clock.now() - signed_in_at).total_seconds() > oldest:
            raise FreshLoginRequired
        work = partial(self._strengthen, request, principal, prove, mode)
        return await self._attempt(principal.user_id, origin_of(request), f"session:{session_id}", work)

    async def _strengthen(
        self, request: AnyRequest, principal: Principal, prove: Prove, mode: Mode, session: AsyncSession
    ) -> StartedSession | None:
        origin = origin_of(request)
        holder = await credentials.hold(session, principal.user_id)
        await reauthorize(session, principal)
        assert holder is not None
        if not (await overview(session, holder.user_id)).has_any:
            raise NoSecondFactor
        proof = await prove(session, holder)
        if proof is None:
            if await self._record_wrong_code(session, origin, holder):
                reason, of = sessions.TOO_MANY_WRONG_PASSWORDS, UUID(principal.credential.session_id)
                await sessions.end(session, origin, of, user_id=holder.user_id, reason=reason)
            return None
        _record_proof(session, origin, holder, proof)
        return await self.replace_session(session, request, principal, holder, proof, mode=mode)

    async def replace_session(
        self,
        session: AsyncSession,
        request: AnyRequest,
        principal: Principal,
        holder: Holder,
        proof: Proof,
        *,
        mode: Mode,
    ) -> StartedSession:
        """Start a session with two factors instead of the caller's, whose apps continue with the new one.

        Args:
            session: a transaction that holds the user, after `reauthorize`.
            request: with the second factor.
            principal: the caller.
            holder: the user.
            proof: of the second factor.
            mode: whether a refresh token or a cookie continues the new session.

        Raises:
            SignInExpired: the user was disabled.
        """
        old = await session.get(SessionRow, UUID(principal.credential.session_id))
        assert old is not None
        start = StartOf(
            holder.user_id,
            holder.password_version,
            _with(principal.credential.amr, proof),
            self._starter.is_remembered(old.idle_seconds),
            old.device_info,
            mode,
            Family.API_AUTH,
            "Login successful",
        )
        started = await self._starter.start_now(session, request, start, acr=TWO_FACTORS)
        if started is None:
            raise SignInExpired
        await session.execute(_MOVE_LOGIN, {"of": old.id, "to": started.session_id})
        await apps.move(session, of=old.id, to=started.session_id)
        origin = origin_of(request)
        await sessions.end(session, origin, old.id, user_id=holder.user_id, reason=sessions.REPLACED)
        return started

    async def _attempt(
        self,
        user_id: str,
        origin: Origin,
        device: str | None,
        work: Callable[[AsyncSession], Awaitable[StartedSession | None]],
    ) -> StartedSession:
        """Run an attempt within the limits, and count it if the code was wrong."""
        (pair, key), *limited = self._services.rules.login(_account(user_id), origin.ip_address or "", device=device)
        async with self._services.limiter.attempt(pair, key, *limited) as attempt:
            started = await self._services.database.transact(work)
            if started is None:
                attempt.fail()
        outcome = SecondFactorInvalid.code if started is None else "authenticated"
        metrics.count_attempt(method="second_factor", outcome=outcome)
        if started is None:
            raise SecondFactorInvalid
        return started

    async def _record_wrong_code(self, session: AsyncSession, origin: Origin, holder: Holder) -> bool:
        """Record a wrong code, and return whether the limit of consecutive ones is reached."""
        details: dict[str, Any] = {"method": "second_factor"}
        record(session, origin, action="user.sign_in_failed", user_id=holder.user_id, details=details)
        limit = self._services.rules.consecutive_failures
        return await count_wrong_password(session, self._services.mailer, holder, limit=limit)


def _account(user_id: str) -> str:
    """The name under which wrong codes of a user are counted, apart from wrong passwords."""
    return f"second-factor:{user_id}"


def _with(amr: tuple[str, ...], proof: Proof) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*amr, *proof.amr, MULTI_FACTOR)))


def _record_proof(session: AsyncSession, origin: Origin, holder: Holder, proof: Proof) -> None:
    details = {"method": proof.method}
    record(session, origin, action="user.second_factor_proved", user_id=holder.user_id, details=details)
