"""Registration with e-mail verification (S4-09).

Only the owner of the address learns from the mail whether it has an account (C-30): the response and the work are the
same for every address. An existing account keeps its password. Registering again with the same password keeps it. A
different password means that two people claim the address and only one can read its mail: from then on verification
clears any earlier password (C-11).
"""

from sqlalchemy.ext.asyncio import AsyncSession

from idp.accounts.account_services import AccountServices
from idp.accounts.sign_up import create_account
from idp.accounts.timing_decoy import decoy_address, flush_and_rollback
from idp.audit.record import Origin
from idp.errors import EmailTaken
from idp.mail.messages import AlreadyRegistered, Mail, VerifyEmail
from idp.users import credentials
from idp.users.credentials import Holder
from idp.users.email import email_key
from idp.users.one_time_tokens import Purpose


class RegisterEmail:
    """Creates accounts with an unverified address."""

    def __init__(self, services: AccountServices) -> None:
        self._services = services

    async def register(self, email: str, password: str, origin: Origin, *, name: str | None = None) -> None:
        """Create an account and mail the verification link; for an address with an account, mail its owner.

        Args:
            email: as `parse_email` returned it.
            password: the password of the new account.
            origin: the request's origin.
            name: display name of a new account.

        Raises:
            PasswordsRefused: the address is of a domain whose people sign in elsewhere.
            PasswordRejected: with the reason.
            RateLimited: too many mails to this address or from this client.
            Busy: the password queue is full.
        """
        services = self._services
        services.passwords.check_domain(email)
        services.passwords.check_address(email)
        services.passwords.check_policy(password, email=email, name=name)
        await services.allow(*services.rules.verification(email_key(email), origin.ip_address or ""))
        existing = await credentials.look_up(services.database.reads, email)
        # For every address, so that timing reveals nothing (SEC-9).
        stored = existing.password_hash if existing else None
        check = await services.passwords.check(stored, password, asker=origin.ip_address)
        password_hash = await services.passwords.hash(password, asker=origin.ip_address)
        async with services.database.transaction() as session:
            holder = await credentials.hold_by_email(session, email)
            if holder is None:
                try:
                    async with session.begin_nested():
                        user_id = await self._create(session, origin, email, password_hash, name)
                        await credentials.mark_contested(session, user_id, contested=False)
                        await self._send_link(session, Purpose.REGISTER, user_id, None, email)
                except EmailTaken:  # by a concurrent request
                    holder = await credentials.hold_by_email(session, email)
            if holder is not None:
                is_same = check.matches and stored == holder.password_hash
                await self._notify_owner(session, origin, holder, password_hash, is_same=is_same)

    async def _create(
        self, session: AsyncSession, origin: Origin, email: str, password_hash: str, name: str | None
    ) -> str:
        return await create_account(
            session, self._services.settings, origin, email=email, name=name, password_hash=password_hash
        )

    async def _notify_owner(
        self, session: AsyncSession, origin: Origin, holder: Holder, password_hash: str, *, is_same: bool
    ) -> None:
        """Mail the owner of the account; timing must not reveal whether it exists (SEC-9).

        A new account writes a user, a link and a mail. Writes that an existing account does not need are made for a
        decoy and rolled back.
        """
        is_notified = holder.is_active and holder.email is not None
        is_sent_link = is_notified and not holder.email_verified
        decoy = decoy_address()
        async with session.begin_nested() as savepoint:
            user_id = await self._create(session, origin, decoy, password_hash, None)
            if not is_sent_link:
                await credentials.mark_contested(session, user_id, contested=False)
                await self._make_token(session, Purpose.VERIFY, user_id, decoy)
            if not is_notified:
                self._post(session, AlreadyRegistered(holder.name), decoy)
            await flush_and_rollback(session, savepoint)
        if is_sent_link:
            purpose = Purpose.REGISTER if is_same else Purpose.VERIFY
            await credentials.mark_contested(session, holder.user_id, contested=not is_same)
            await self._send_link(session, purpose, holder.user_id, holder.name, holder.email or decoy)
        elif is_notified:
            self._post(session, AlreadyRegistered(holder.name), holder.email or decoy)

    async def _send_link(
        self, session: AsyncSession, purpose: Purpose, user_id: str, name: str | None, email: str
    ) -> None:
        token = await self._make_token(session, purpose, user_id, email)
        self._post(session, VerifyEmail(name, token, self._services.settings.verification_hours), email)

    async def _make_token(self, session: AsyncSession, purpose: Purpose, user_id: str, email: str) -> str:
        return await self._services.one_time_tokens.make(session, purpose, user_id=user_id, email=email)

    def _post(self, session: AsyncSession, mail: Mail, to: str) -> None:
        self._services.mailer.post(session, mail, to=to, delayed=True)
