"""Sign in with a passkey alone (WebAuthn Level 3)."""

from typing import Any, NoReturn

from litestar import Request
from sqlalchemy.ext.asyncio import AsyncSession

from idp.accounts.account_services import AccountServices
from idp.accounts.passkey_shapes import PasskeyLogin
from idp.accounts.start_session import Mode, SessionStarter, StartedSession, require_started
from idp.audit.record import Origin, origin_of
from idp.errors import InvalidCredentials, PasskeyCloned, PasskeyRejected, PasskeyUnknown
from idp.ops import metrics
from idp.principal.model import MULTI_FACTOR, TWO_FACTORS
from idp.signing.jwt import Family
from idp.users import credentials
from idp.users.factors.passkey_authentication import PasskeyAuthentication
from idp.users.factors.passkeys import record_clone

_METHOD = "passkey"


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
            amr=(*verified.methods, MULTI_FACTOR),
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
            async with self._services.database.transaction() as session:
                await record_clone(session, origin, error)
        raise error
