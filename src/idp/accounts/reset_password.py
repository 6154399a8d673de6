"""Password reset, and the first password of an invited user (S4-11, S4-12, SEC-10)."""

import asyncio
from collections.abc import Callable, Mapping

from sqlalchemy.ext.asyncio import AsyncSession

from idp import clock
from idp.accounts.account_services import AccountServices
from idp.accounts.timing_decoy import decoy_address, flush_and_rollback, lock_user_or_decoy
from idp.apikeys.service import lock
from idp.audit.record import Origin, record
from idp.errors import OneTimeTokenInvalid
from idp.events.catalogue import EventType
from idp.lifecycle.claim import claim
from idp.lifecycle.credentials_changed import change_password
from idp.mail.messages import PasswordChanged, Welcome
from idp.mail.messages import ResetPassword as ResetPasswordMail
from idp.mail.user_text import device_name
from idp.users import credentials
from idp.users.credentials import Holder
from idp.users.one_time_tokens import CHOOSING, OneTimeToken, Purpose


class ResetPassword:
    """Sets a password with a link mailed to the account's address."""

    def __init__(self, services: AccountServices) -> None:
        self._services = services

    async def request_link(self, email: str, origin: Origin, *, cookies: Mapping[str, str]) -> Holder | None:
        """Return the user who may receive a link; as `AccountServices.find_link_recipient`."""
        return await self._services.find_link_recipient(email, origin, self._services.rules.reset, cookies=cookies)

    async def send(self, recipient: Holder | None, origin: Origin) -> None:
        """Mail the link, after the response; without an account, do the same work for a decoy (SEC-9).

        The link of an invitation stays valid, so a stranger's request cannot revoke it.
        """
        services = self._services
        async with services.database.transaction() as session:
            record(
                session,
                origin,
                action="user.password_reset_requested",
                user_id=recipient.user_id if recipient else None,
            )
            async with session.begin_nested() as savepoint:
                holder = await lock_user_or_decoy(session, recipient)
                to = holder.email or decoy_address()
                token = await services.one_time_tokens.make(session, Purpose.RESET, user_id=holder.user_id, email=to)
                mail = ResetPasswordMail(holder.name, token, services.settings.reset_minutes)
                services.mailer.post(session, mail, to=to, delayed=True)
                if not holder.is_active or holder.email is None:
                    await flush_and_rollback(session, savepoint)

    async def offer(self, session: AsyncSession, holder: Holder) -> str | None:
        """Return a reset token for a newly verified user without a password, else None.

        Args:
            session: the transaction that locks the user's row.
            holder: the verified user.
        """
        if holder.password_hash is not None or holder.email is None:
            return None
        return await self._services.one_time_tokens.make(
            session, Purpose.RESET, user_id=holder.user_id, email=holder.email
        )

    async def check_link(self, presented_token: str, origin: Origin) -> OneTimeToken:
        """Return the token of a link without consuming it; raises as `AccountServices.check_link`."""
        return await self._services.check_link(presented_token, CHOOSING, origin)

    async def confirm(self, presented_token: str, new_password: str, origin: Origin) -> None:
        """Set the password and revoke everything granted under the previous one. Also verifies the address (C-11).

        Raises:
            OneTimeTokenInvalid: the link is invalid.
            PasswordRejected: with the reason; the link stays valid.
            RateLimited: too many invalid links from this client.
            Busy: the password queue is full.
        """
        services = self._services
        link = await self.check_link(presented_token, origin)
        services.passwords.check_policy(new_password, email=link.email, member="new_password")
        password_hash = await services.passwords.hash(new_password, asker=origin.ip_address)
        mail = await password_changed(origin)
        async with services.database.transaction() as session:
            await lock(session)
            holder = await credentials.hold(session, link.user_id)
            if holder is not None:
                services.passwords.check_policy(new_password, email=link.email, name=holder.name)
            token = await services.one_time_tokens.redeem(session, presented_token, CHOOSING)
            if holder is None:
                raise OneTimeTokenInvalid
            if not holder.email_verified:
                await claim(session, origin, holder.user_id, keep_password=False)
            reset = EventType.USER_PASSWORD_RESET
            ended = await change_password(session, origin, holder.user_id, password_hash, also=reset)
            details = {"by": token.purpose, "ended_sessions": ended}
            record(session, origin, action="user.password_reset", user_id=holder.user_id, details=details)
            is_first = token.purpose is Purpose.INVITE
            services.mailer.post(session, Welcome(holder.name) if is_first else mail(holder.name), to=token.email)


async def password_changed(origin: Origin) -> Callable[[str | None], PasswordChanged]:
    """Return a factory of the mail about the new password: takes the user's name; has time and device."""
    device = await asyncio.to_thread(device_name, origin.user_agent)
    return lambda name: PasswordChanged(name, clock.now(), device, origin.ip_address)
