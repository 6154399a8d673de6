"""Passkeys of an account: registered, renamed and removed by their user, and signing in with one."""

from typing import Any, NoReturn
from uuid import UUID

from litestar import Request
from sqlalchemy.ext.asyncio import AsyncSession

from idp.accounts.account_services import AccountServices
from idp.accounts.passkey_shapes import NewPasskey, PasskeyList, PasskeyLogin
from idp.accounts.start_session import Mode, SessionStarter, StartedSession, require_started
from idp.audit.record import Origin, origin_of
from idp.errors import InvalidCredentials, PasskeyCloned, PasskeyRejected, PasskeyUnknown, UserInactive
from idp.ops import metrics
from idp.principal.model import TWO_FACTORS, Principal
from idp.principal.reauthorize import reauthorize
from idp.signing.jwt import Family
from idp.users import credentials
from idp.users.credentials import Holder
from idp.users.factors import passkeys
from idp.users.factors.models import PasskeyRow
from idp.users.factors.passkey_authentication import PasskeyAuthentication
from idp.users.factors.passkey_registration import PasskeyRegistration
from idp.users.factors.passkeys import Passkey, record_passkey

_METHOD = "passkey"


class AccountPasskeys:
    """Registers, renames and removes the passkeys of a signed-in user.

    Args:
        services: shared dependencies of the flows.
        registration: verifies new passkeys.
        party_id: the relying party's id.
    """

    def __init__(self, services: AccountServices, registration: PasskeyRegistration, *, party_id: str) -> None:
        self._database = services.database
        self._passwords = services.passwords
        self._registration = registration
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

    async def register(self, principal: Principal, new: NewPasskey, origin: Origin) -> Passkey:
        """Register a passkey.

        Raises:
            PasskeyRejected, PasskeyExists, TooManyPasskeys: as `PasskeyRegistration.register`.
            PasswordsRefused: as `options`.
        """
        async with self._database.transaction() as session:
            holder = await self._hold(session, principal)
            self._check_domain(holder.email)
            return await self._registration.register(session, origin, holder.user_id, new.credential, name=new.name)

    async def rename(self, principal: Principal, passkey_id: UUID, name: str, origin: Origin) -> Passkey:
        """Give a passkey another name.

        Raises:
            PasskeyNotFound: the user has no such passkey.
        """
        async with self._database.transaction() as session:
            holder = await self._hold(session, principal)
            return await passkeys.rename(session, origin, holder.user_id, passkey_id, name)

    async def remove(self, principal: Principal, passkey_id: UUID, origin: Origin) -> Passkey:
        """Remove a passkey.

        Raises:
            PasskeyNotFound: the user has no such passkey.
        """
        async with self._database.transaction() as session:
            holder = await self._hold(session, principal)
            return await passkeys.remove(session, origin, holder.user_id, passkey_id)

    async def _hold(self, session: AsyncSession, principal: Principal) -> Holder:
        holder = await credentials.hold(session, principal.user_id)
        await reauthorize(session, principal)
        if holder is None:
            raise UserInactive
        return holder

    def _check_domain(self, email: str | None) -> None:
        if email is not None:
            self._passwords.check_domain(email)


class PasskeySignIn:
    """Signs users in with a passkey alone: two factors, the device and the PIN or biometrics that it asks for.

    Args:
        services: shared dependencies of the flows.
        starter: starts sessions.
        authentication: verifies passkeys.
    """

    def __init__(
        self, services: AccountServices, starter: SessionStarter, authentication: PasskeyAuthentication
    ) -> None:
        self._services = services
        self._starter = starter
        self._authentication = authentication

    @property
    def party_id(self) -> str:
        """The relying party's id."""
        return self._authentication.party.id

    def options(self) -> dict[str, Any]:
        """Return the options for a sign-in, the same for everyone."""
        return self._authentication.sign_in_options()

    async def log_in(
        self, request: Request[Any, Any, Any], data: PasskeyLogin, mode: Mode, *, family: Family, verified_only: bool
    ) -> StartedSession:
        """Start a session for the user of a passkey.

        Args:
            request: the request.
            data: what the browser returned.
            mode: whether a refresh token or a cookie continues the session.
            family: the token format.
            verified_only: refuse unverified addresses.

        Raises:
            PasskeyUnknown, PasskeyRejected, PasskeyCloned: as `PasskeyAuthentication.verify`.
            InvalidCredentials: the user is disabled, or the address is not verified.
            PasswordsRefused: the address is of a domain whose people sign in elsewhere.
            RateLimited: too many failed attempts from this address.
            CsrfRejected: with `mode` "cookie", the request comes from another site.
        """
        self._starter.check_origin(request, mode)
        services, origin = self._services, origin_of(request)
        async with services.limiter.attempt(*services.rules.of_address("login", origin.ip_address or "")) as attempt:
            try:
                started = await services.database.transact(
                    lambda session: self._start(
                        session, request, data, mode, family=family, verified_only=verified_only
                    )
                )
            except (PasskeyUnknown, PasskeyRejected, PasskeyCloned, InvalidCredentials) as error:
                attempt.fail()
                await self._refuse(error, origin)
        metrics.count_attempt(method=_METHOD, outcome="authenticated")
        return started

    async def _start(
        self,
        session: AsyncSession,
        request: Request[Any, Any, Any],
        data: PasskeyLogin,
        mode: Mode,
        *,
        family: Family,
        verified_only: bool,
    ) -> StartedSession:
        verified = await self._authentication.verify(session, data.credential, user_id=None)
        holder = await credentials.find_by_id(session, verified.user_id)
        if holder is None or not holder.is_active or (verified_only and not holder.email_verified):
            raise InvalidCredentials
        if holder.email is not None:
            self._services.passwords.check_domain(holder.email)
        begun = await self._starter.start(
            session,
            request,
            holder.user_id,
            family=family,
            message="Login successful",
            password_version=holder.password_version,
            amr=verified.methods,
            acr=TWO_FACTORS,
            remember=data.remember_me,
            device_info=data.device_info,
            mode=mode,
        )
        return require_started(begun)

    async def _refuse(self, error: Exception, origin: Origin) -> NoReturn:
        """Record a passkey that may be a copy, commit, then raise."""
        metrics.count_attempt(method=_METHOD, outcome="invalid_credentials")
        if isinstance(error, PasskeyCloned):
            await record_clone(self._services, origin, error)
        raise error


async def record_clone(services: AccountServices, origin: Origin, error: PasskeyCloned) -> None:
    """Record that a passkey's counter did not grow, after the transaction that found it."""
    async with services.database.transaction() as session:
        row = await session.get(PasskeyRow, error.passkey_id)
        if row is not None:
            record_passkey(session, origin, "passkey.may_be_cloned", row)
