"""Proofs that an account belongs to the person at the browser, before an identity is linked to it (C-11)."""

from idp.accounts.account_services import AccountServices
from idp.accounts.password_proof import PasswordProof
from idp.apikeys.service import lock
from idp.audit.record import Origin
from idp.errors import OneTimeTokenInvalid
from idp.federation.sign_in import Proven, WaitingLink
from idp.lifecycle.claim import claim
from idp.mail.messages import LinkAccount
from idp.users import credentials
from idp.users.email import email_key
from idp.users.one_time_tokens import LINK_HOURS, Purpose

_PURPOSES = frozenset({Purpose.LINK})


class LinkProof:
    """Checks the proofs.

    Args:
        services: shared dependencies of account flows.
    """

    def __init__(self, services: AccountServices) -> None:
        self._services = services
        self._passwords = PasswordProof(services)

    async def by_password(self, waiting: WaitingLink, password: str, origin: Origin) -> Proven:
        """Return the account.

        Raises:
            PasswordsRefused: the address is of a domain whose people sign in elsewhere.
            InvalidCredentials: the password is wrong.
            RateLimited, Busy: as for a sign-in.
        """
        self._services.passwords.check_domain(waiting.email)
        holder = await self._passwords.check(waiting.user_id, password, origin, session_id=None)
        self._services.passwords.check_domain(holder.email or "")  # another one, if it was changed meanwhile
        return Proven(holder.user_id, holder.password_version)

    async def mail(self, waiting: WaitingLink, origin: Origin) -> None:
        """Send a link to the account's address.

        Raises:
            RateLimited: too many mails.
        """
        services = self._services
        await services.allow(*services.rules.verification(email_key(waiting.email), origin.ip_address or ""))
        async with services.database.transaction() as session:
            holder = await credentials.hold(session, waiting.user_id)
            if holder is None or not holder.is_active or holder.email is None:
                return
            token = await services.one_time_tokens.make(
                session, Purpose.LINK, user_id=holder.user_id, email=holder.email
            )
            mail = LinkAccount(holder.name, f"{waiting.login_id}.{token}", waiting.label, LINK_HOURS)
            services.mailer.post(session, mail, to=holder.email)

    async def by_mail(self, presented_token: str, origin: Origin) -> Proven:
        """Consume a link, and return the account; an account that never verified its address is claimed.

        Raises:
            OneTimeTokenInvalid: the link is unknown, used or expired.
        """
        async with self._services.database.transaction() as session:
            await lock(session)  # before the user's row (C-27)
            token = await self._services.one_time_tokens.redeem(session, presented_token, _PURPOSES)
            holder = await credentials.hold(session, token.user_id)
            if holder is not None and not holder.email_verified:
                await claim(session, origin, token.user_id, keep_password=False)
                holder = await credentials.find_by_id(session, token.user_id)
            if holder is None:
                raise OneTimeTokenInvalid
        return Proven(holder.user_id, holder.password_version)
