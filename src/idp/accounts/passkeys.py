"""The passkeys of an account: registered, renamed and removed by their user."""

from typing import Any
from uuid import UUID

from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncSession

from idp.accounts.account_services import AccountServices
from idp.accounts.manage_factors import ManageFactors, device_of, is_weaker
from idp.accounts.passkey_shapes import NewPasskey, PasskeyList
from idp.accounts.second_factor import Proof, SecondFactor
from idp.accounts.start_session import Mode, StartedSession
from idp.audit.record import Origin, origin_of
from idp.errors import FreshLoginRequired, UserInactive
from idp.principal.model import Principal
from idp.principal.reauthorize import reauthorize
from idp.principal.requests import AnyRequest
from idp.users import credentials
from idp.users.credentials import Holder
from idp.users.factors import passkeys
from idp.users.factors.passkey_registration import PasskeyRegistration
from idp.users.factors.passkeys import Passkey


class AddedPasskey(Struct, frozen=True):
    """A passkey that was registered. `repr` hides the codes.

    Attributes:
        recovery_codes: new ones, empty if the user had some.
        started: the session that replaces the one of the request; None for a request without a session.
    """

    passkey: Passkey
    recovery_codes: tuple[str, ...]
    started: StartedSession | None

    def __repr__(self) -> str:
        return "AddedPasskey(hidden)"


class AccountPasskeys:
    """Registers, renames and removes the passkeys of a signed-in user.

    Args:
        services: shared dependencies of the flows.
        registration: verifies new passkeys.
        second_factor: makes sessions stronger.
        manage_factors: tells users what was changed.
        party_id: the relying party's id.
    """

    def __init__(
        self,
        services: AccountServices,
        registration: PasskeyRegistration,
        second_factor: SecondFactor,
        manage_factors: ManageFactors,
        *,
        party_id: str,
    ) -> None:
        self._database = services.database
        self._passwords = services.passwords
        self._registration = registration
        self._second_factor = second_factor
        self._manage_factors = manage_factors
        self._party_id = party_id

    async def list(self, user_id: str) -> PasskeyList:
        """Return a user's passkeys."""
        async with self._database.transaction() as session:
            known = await passkeys.find(session, user_id)
        return PasskeyList(known.passkeys, known.user_handle, self._party_id)

    async def options(self, principal: Principal) -> dict[str, Any]:
        """Return the options for registering a passkey.

        Raises:
            PasswordsRefused: the user's address is of a domain whose people sign in elsewhere.
            TooManyPasskeys: the user has as many as a user may have.
        """
        user = principal.user
        assert user is not None
        self._check_domain(user.email)
        name = user.email or user.id
        async with self._database.transaction() as session:
            return await self._registration.options(session, user.id, name=name, display_name=user.name or name)

    async def register(self, request: AnyRequest, principal: Principal, new: NewPasskey, *, mode: Mode) -> AddedPasskey:
        """Register a passkey, and replace the session by a stronger one.

        Args:
            request: with the passkey.
            principal: the caller, after a recent sign-in.
            new: what the browser returned, and a name.
            mode: whether a refresh token or a cookie continues the session.

        Raises:
            PasskeyRejected, PasskeyExists, TooManyPasskeys: as `PasskeyRegistration.register`.
            PasswordsRefused: as `options`.
            FreshLoginRequired: the user has a factor that this sign-in has not proved.
            TokenRevoked, UserInactive: the session ended meanwhile.
        """
        origin = origin_of(request)
        device = await device_of(origin)

        async def work(session: AsyncSession) -> AddedPasskey:
            holder = await self._hold(session, principal)
            self._check_domain(holder.email)
            if await is_weaker(session, principal):
                raise FreshLoginRequired
            registered = await self._registration.register(
                session, origin, holder.user_id, new.credential, name=new.name
            )
            await self._manage_factors.tell(session, origin, holder, "passkey_added", device=device)
            codes = await self._manage_factors.first_recovery_codes(session, holder.user_id)
            if principal.credential.session_id is None:
                return AddedPasskey(registered.passkey, codes, None)
            proof = Proof("passkey", registered.methods)
            started = await self._second_factor.replace_session(session, request, principal, holder, proof, mode=mode)
            return AddedPasskey(registered.passkey, codes, started)

        return await self._database.transact(work)

    async def rename(self, principal: Principal, passkey_id: UUID, name: str, origin: Origin) -> Passkey:
        """Give a passkey another name.

        Raises:
            PasskeyNotFound: the user has no such passkey.
        """
        async with self._database.transaction() as session:
            holder = await self._hold(session, principal)
            return await passkeys.rename(session, origin, holder.user_id, passkey_id, name)

    async def remove(self, principal: Principal, passkey_id: UUID, origin: Origin) -> Passkey:
        """Remove a passkey; with the last factor the recovery codes go too.

        Raises:
            PasskeyNotFound: the user has no such passkey.
            SecondFactorNeeded: the policy requires a second factor, and this is the last one.
        """
        device = await device_of(origin)
        async with self._database.transaction() as session:
            holder = await self._hold(session, principal)
            removed = await passkeys.remove(session, origin, holder.user_id, passkey_id)
            await self._manage_factors.check_removal(session, holder.user_id)
            await self._manage_factors.tell(session, origin, holder, "passkey_removed", device=device)
        return removed

    async def _hold(self, session: AsyncSession, principal: Principal) -> Holder:
        holder = await credentials.hold(session, principal.user_id)
        await reauthorize(session, principal)
        if holder is None:
            raise UserInactive
        return holder

    def _check_domain(self, email: str | None) -> None:
        if email is not None:
            self._passwords.check_domain(email)
