"""Set up and remove second factors. Each change is recorded, published, and told to its user by mail."""

import asyncio
from datetime import datetime

from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncSession

from idp import clock
from idp.accounts.account_services import AccountServices
from idp.accounts.second_factor import Proof, SecondFactor
from idp.accounts.start_session import Mode, StartedSession
from idp.audit.record import Origin, origin_of, record
from idp.errors import (
    FactorNotFound,
    FreshLoginRequired,
    NoSecondFactor,
    SecondFactorInvalid,
    SecondFactorNeeded,
    SignInExpired,
)
from idp.mail.messages import FactorChange, SecondFactorChange
from idp.mail.user_text import device_name
from idp.principal.guards import is_strong
from idp.principal.model import Principal
from idp.principal.reauthorize import reauthorize
from idp.principal.requests import AnyRequest
from idp.sessions import service as sessions
from idp.users import administration, credentials
from idp.users.credentials import Holder
from idp.users.factors import enrolled
from idp.users.factors.enrolled import FactorOverview
from idp.users.factors.policy import FactorPolicy
from idp.users.factors.recovery_codes import RecoveryCodes
from idp.users.factors.totp import Totp, TotpEnrolment
from idp.users.user_events import publish_changed


class FactorState(Struct, frozen=True):
    """The second factors of a user, and whether the policy requires one.

    Attributes:
        factors: what they have.
        required: whether they must have one.
        due_at: until when they may sign in without one; None if that has not been decided or none is required.
    """

    factors: FactorOverview
    required: bool
    due_at: datetime | None


class Enrolled(Struct, frozen=True):
    """A factor that was set up. `repr` hides the codes.

    Attributes:
        recovery_codes: new ones, empty if the user had some.
        started: the session that replaces the one of the request; None for a request without a session.
    """

    recovery_codes: tuple[str, ...]
    started: StartedSession | None

    def __repr__(self) -> str:
        return "Enrolled(hidden)"


class ManageFactors:
    """Sets up and removes second factors.

    Args:
        services: shared dependencies of account flows.
        second_factor: finishes sign-ins that wait for a set-up, and makes sessions stronger.
        totp: stores authenticator apps.
        recovery_codes: stores recovery codes.
        policy: who must have a second factor.
    """

    def __init__(
        self,
        services: AccountServices,
        second_factor: SecondFactor,
        totp: Totp,
        recovery_codes: RecoveryCodes,
        policy: FactorPolicy,
    ) -> None:
        self._services = services
        self._second_factor = second_factor
        self._totp = totp
        self._recovery_codes = recovery_codes
        self._policy = policy

    async def state(self, user_id: str) -> FactorState:
        """Return what a user has, and whether they must have one."""
        async with self._services.database.transaction() as session:
            required, due_at = await self._policy.requirement(session, user_id)
            return FactorState(await enrolled.overview(session, user_id), required, due_at)

    # --- authenticator app --------------------------------------------------------------------------------------------

    async def begin_totp(self, user_id: str) -> TotpEnrolment:
        """Return a new secret for a user; it is stored when a code of it is confirmed."""
        async with self._services.database.transaction() as session:
            holder = await _live(session, user_id)
            return await self._totp.begin(session, user_id, account=_name(holder))

    async def show_totp(self, user_id: str, sealed: str) -> TotpEnrolment:
        """Return an enrolment again, after a wrong code.

        Raises:
            EnrolmentExpired: it is too old, or of another user.
        """
        async with self._services.database.transaction() as session:
            return self._totp.show(sealed, user_id, account=_name(await _live(session, user_id)))

    async def confirm_totp(
        self, request: AnyRequest, principal: Principal, sealed: str, code: str, *, mode: Mode
    ) -> Enrolled:
        """Store the app of a signed-in user, and replace their session by a stronger one.

        Args:
            request: with the code.
            principal: the caller, after a recent sign-in.
            sealed: the enrolment.
            code: of the new app.
            mode: whether a refresh token or a cookie continues the session.

        Raises:
            EnrolmentExpired: the enrolment is too old, or of another user.
            SecondFactorInvalid: the code is wrong.
            SecondFactorChanged: another enrolment was faster.
            FreshLoginRequired: the user has a factor that this sign-in has not proved.
            TokenRevoked, UserInactive: the session ended meanwhile.
        """
        origin = origin_of(request)
        device = await device_of(origin)

        async def work(session: AsyncSession) -> Enrolled:
            holder = await credentials.hold(session, principal.user_id)
            await reauthorize(session, principal)
            assert holder is not None
            is_weak = await is_weaker(session, principal)
            codes = await self._enrol_totp(session, origin, holder, sealed, code, device)
            if is_weak:
                raise FreshLoginRequired
            if principal.credential.session_id is None:
                return Enrolled(codes, None)
            started = await self._second_factor.replace_session(
                session, request, principal, holder, Proof("totp"), mode=mode
            )
            return Enrolled(codes, started)

        return await self._services.database.transact(work)

    async def confirm_totp_of_sign_in(
        self, request: AnyRequest, presented_token: str, sealed: str, code: str
    ) -> Enrolled:
        """Store the app of a user whose sign-in waits for it, and start the session.

        Raises:
            SignInExpired: the sign-in is over.
            EnrolmentExpired, SecondFactorInvalid, SecondFactorChanged: as `confirm_totp`.
            RateLimited: too many wrong codes.
        """
        codes: tuple[str, ...] = ()
        origin = origin_of(request)
        device = await device_of(origin)

        async def prove(session: AsyncSession, holder: Holder) -> Proof | None:
            nonlocal codes
            try:
                codes = await self._enrol_totp(session, origin, holder, sealed, code, device)
            except SecondFactorInvalid:
                return None
            return Proof("totp")

        started = await self._second_factor.complete(request, presented_token, prove, enrols=True)
        return Enrolled(codes, started)

    async def _enrol_totp(
        self, session: AsyncSession, origin: Origin, holder: Holder, sealed: str, code: str, device: str | None
    ) -> tuple[str, ...]:
        replaced = await self._totp.enrol(session, holder.user_id, sealed, code)
        what: FactorChange = "totp_replaced" if replaced else "totp_added"
        await self.tell(session, origin, holder, what, device=device)
        return await self.first_recovery_codes(session, holder.user_id)

    async def first_recovery_codes(self, session: AsyncSession, user_id: str) -> tuple[str, ...]:
        """Return recovery codes for a user who has none left, to be shown once; empty for others."""
        if await self._recovery_codes.left(session, user_id):
            return ()
        return await self._recovery_codes.renew(session, user_id)

    async def remove_totp(self, principal: Principal, origin: Origin) -> None:
        """Remove the app of a user; with the last factor their recovery codes go too.

        Args:
            principal: the caller, after a recent sign-in with two factors.
            origin: of the request.

        Raises:
            FactorNotFound: it was removed meanwhile.
            SecondFactorNeeded: the policy requires a second factor, and this is the last one.
            TokenRevoked, UserInactive: the session ended meanwhile.
        """
        device = await device_of(origin)
        async with self._services.database.transaction() as session:
            holder = await credentials.hold(session, principal.user_id)
            await reauthorize(session, principal)
            assert holder is not None
            if not await self._totp.remove(session, holder.user_id):
                raise FactorNotFound
            await self.check_removal(session, holder.user_id)
            await self.tell(session, origin, holder, "totp_removed", device=device)

    async def check_removal(self, session: AsyncSession, user_id: str) -> None:
        """Check what a removal leaves: the last factor takes the recovery codes with it, unless the policy forbids.

        Raises:
            SecondFactorNeeded: the policy requires a second factor.
        """
        if (await enrolled.overview(session, user_id)).has_any:
            return
        required, _ = await self._policy.requirement(session, user_id)
        if required:
            raise SecondFactorNeeded
        await self._recovery_codes.forget(session, user_id)

    # --- recovery codes ----------------------------------------------------------------------------------------------

    async def renew_recovery_codes(self, principal: Principal, origin: Origin) -> tuple[str, ...]:
        """Return new recovery codes for a user, which replace all earlier ones.

        Args:
            principal: the caller, after a recent sign-in with two factors.
            origin: of the request.

        Raises:
            NoSecondFactor: they have no second factor that the codes could stand in for.
            TokenRevoked, UserInactive: the session ended meanwhile.
        """
        device = await device_of(origin)
        async with self._services.database.transaction() as session:
            holder = await credentials.hold(session, principal.user_id)
            await reauthorize(session, principal)
            assert holder is not None
            if not (await enrolled.overview(session, holder.user_id)).has_any:
                raise NoSecondFactor
            codes = await self._recovery_codes.renew(session, holder.user_id)
            await self.tell(session, origin, holder, "recovery_codes_renewed", device=device)
        return codes

    # --- for administrators ------------------------------------------------------------------------------------------

    async def reset(self, principal: Principal, user_id: str, reason: str, origin: Origin) -> int:
        """Remove all factors and recovery codes of a user who has lost them, and end their sessions.

        Args:
            principal: the administrator.
            user_id: the user.
            reason: how the administrator knows that it is them; kept in the audit record.
            origin: of the request.

        Returns:
            The number of sessions ended.

        Raises:
            UserNotFound: there is no such user.
            FactorNotFound: they have none.
            AdminRequired: the caller has lost the role.
        """
        async with self._services.database.transaction() as session:
            await administration.hold(session, user_id)
            await reauthorize(session, principal, manages=True)
            holder = await _live(session, user_id)
            had = await enrolled.overview(session, user_id)
            if not await enrolled.remove_all(session, user_id):
                raise FactorNotFound
            await self._second_factor.pending_sign_ins.forget(session, user_id)
            ended = await sessions.end_all(session, origin, user_id, reason=sessions.SIGNED_OUT_BY_ADMIN)
            details = {"reason": reason, "had": list(had.methods), "ended_sessions": ended}
            await self.tell(session, origin, holder, "reset", device=None, details=details)
        return ended

    async def tell(
        self,
        session: AsyncSession,
        origin: Origin,
        holder: Holder,
        what: FactorChange,
        *,
        device: str | None,
        details: dict[str, object] | None = None,
    ) -> None:
        """Record and publish a change of a user's factors, and tell them by mail.

        Args:
            session: the transaction of the change.
            origin: of the request.
            holder: the user.
            what: was changed.
            device: of the request, as the mail names it.
            details: for the audit record.
        """
        details = {"change": what} | (details or {})
        record(session, origin, action="user.second_factor_changed", user_id=holder.user_id, details=details)
        await publish_changed(session, origin, holder.user_id, "second_factors")
        if holder.email is not None:
            address = None if what == "reset" else origin.ip_address
            mail = SecondFactorChange(holder.name, what, clock.now(), device, address)
            self._services.mailer.post(session, mail, to=holder.email)


async def is_weaker(session: AsyncSession, principal: Principal) -> bool:
    """Whether the caller signed in with one factor, although they have a second.

    It may have been set up since the request arrived; such a caller changes no factors.

    Args:
        session: the transaction of the change, which holds the user.
        principal: the caller.
    """
    return not is_strong(principal) and (await enrolled.overview(session, principal.user_id)).has_any


async def device_of(origin: Origin) -> str | None:
    """Return the device of a request in words; called before a transaction, because it loads large tables."""
    return await asyncio.to_thread(device_name, origin.user_agent)


async def _live(session: AsyncSession, user_id: str) -> Holder:
    holder = await credentials.find_by_id(session, user_id)
    if holder is None:
        raise SignInExpired
    return holder


def _name(holder: Holder) -> str:
    return holder.email or holder.name or holder.user_id
