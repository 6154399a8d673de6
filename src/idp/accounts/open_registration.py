"""Registration without e-mail verification: an account and a session at once (S3-23), for the API and for pages."""

from sqlalchemy.ext.asyncio import AsyncSession

from idp.accounts.account_services import AccountServices
from idp.accounts.sign_in import PASSWORD
from idp.accounts.sign_up import create_account
from idp.accounts.start_session import Begun, Mode, SessionStarter
from idp.audit.record import origin_of
from idp.principal.requests import AnyRequest
from idp.signing.jwt import Family
from idp.users.credentials import FIRST_PASSWORD


class OpenRegistration:
    """Creates accounts and signs them in."""

    def __init__(self, services: AccountServices, starter: SessionStarter) -> None:
        self._database = services.database
        self._passwords = services.passwords
        self._settings = services.settings
        self._devices = services.devices
        self._limiter = services.limiter
        self._rules = services.rules
        self._starter = starter

    async def register(
        self,
        request: AnyRequest,
        email: str,
        password: str,
        name: str | None,
        *,
        family: Family,
        mode: Mode,
        device_info: object = None,
    ) -> Begun:
        """Create an account in the default team and domain, and start a session.

        Args:
            request: the request.
            email: as `parse_email` returned it.
            password: the chosen password.
            name: display name.
            family: the token format.
            mode: whether a refresh token or a cookie continues the session.
            device_info: the client's description.

        Raises:
            EmailTaken: the address has an account.
            PasswordRejected, ValidationFailed: the password or the address is refused, with the reason.
            RateLimited: too many registrations from this client.
            Busy: the password queue is full.
        """
        origin = origin_of(request)
        self._passwords.check_domain(email)
        self._passwords.check_address(email)
        self._passwords.check_policy(password, email=email, name=name)
        await self._limiter.take(self._rules.registration(origin.ip_address or ""))
        password_hash = await self._passwords.hash(password, asker=origin.ip_address)

        async def start(session: AsyncSession) -> tuple[str, Begun]:
            user_id = await create_account(
                session, self._settings, origin, email=email, name=name, password_hash=password_hash
            )
            return user_id, await self._starter.start(
                session,
                request,
                user_id,
                family=family,
                message="Registration successful",
                password_version=FIRST_PASSWORD,
                amr=PASSWORD,
                device_info=device_info,
                mode=mode,
            )

        user_id, started = await self._database.transact(start)
        # So that a verification in this browser proves that it set the password (C-11).
        known = self._devices.remember(request.cookies, user_id, password_version=FIRST_PASSWORD)
        return started.with_cookie(known)
