"""Registration that waits for the address to be verified (S4-09).

Whether the address has an account is learnt by its owner alone, from the mail (C-30): everybody gets the same answer,
after the same work. The account of an address that was registered before keeps its password, and the link that is sent
for it takes that password away, because two people claim it and only one reads the address (C-11).
"""

import secrets

from sqlalchemy.ext.asyncio import AsyncSession

from idp.accounts.means import Means
from idp.accounts.sign_up import create_account
from idp.audit.record import Origin
from idp.errors import EmailTaken
from idp.mail.messages import AlreadyRegistered, VerifyEmail
from idp.users import credentials
from idp.users.email import email_key
from idp.users.one_time_tokens import Purpose


class RegisterEmail:
    """Makes accounts whose address waits to be verified."""

    def __init__(self, means: Means) -> None:
        self._means = means

    async def register(self, email: str, password: str, origin: Origin) -> None:
        """Make an account and mail the link that verifies it; for an address with an account, mail its owner.

        Args:
            email: as `parse_email` returned it.
            password: what the new account is to have.
            origin: who asks.

        Raises:
            PasswordRejected: with the reason.
            RateLimited: too many mails to this address, or from there.
            Busy: too many passwords wait to be hashed.
        """
        means = self._means
        means.passwords.check_policy(password, email=email)
        await means.allow(*means.rules.verification(email_key(email), origin.ip_address or ""))
        password_hash = await means.passwords.hash(password)
        async with means.database.transaction() as session:
            try:
                user_id = await self._create(session, origin, email, password_hash)
            except EmailTaken:
                await self._pretend(session, origin, password_hash)
                await self._tell_owner(session, email)
            else:
                await self._send_link(session, Purpose.REGISTER, user_id, None, email)

    async def _create(self, session: AsyncSession, origin: Origin, email: str, password_hash: str) -> str:
        return await create_account(
            session, self._means.settings, origin, email=email, name=None, password_hash=password_hash
        )

    async def _pretend(self, session: AsyncSession, origin: Origin, password_hash: str) -> None:
        """Do what making an account takes, and undo it: the time shall not tell (SEC-9)."""
        async with session.begin_nested() as savepoint:
            nobody = f"{secrets.token_hex(16)}@nobody.invalid"  # RFC 6761 section 6.4
            await self._create(session, origin, nobody, password_hash)
            await savepoint.rollback()

    async def _tell_owner(self, session: AsyncSession, email: str) -> None:
        holder = await credentials.hold_by_email(session, email)
        if holder is None or holder.email is None or not holder.is_active:
            return
        if holder.email_verified:
            self._means.mailer.post(session, AlreadyRegistered(holder.name), to=holder.email)
        else:
            await self._send_link(session, Purpose.VERIFY, holder.user_id, holder.name, holder.email)

    async def _send_link(
        self, session: AsyncSession, purpose: Purpose, user_id: str, name: str | None, email: str
    ) -> None:
        means = self._means
        token = await means.one_time_tokens.make(session, purpose, user_id=user_id, email=email)
        means.mailer.post(session, VerifyEmail(name, token, means.settings.verification_hours), to=email)
