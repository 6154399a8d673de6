"""Another address: asked for with the password, confirmed with a link that only the new address was sent (SEC-6).

The link alone is not enough. Mailed to an address with a typing error it would give a stranger the account, and mailed
to somebody who does not expect it, it would make their address verified on another person's account. So whoever
follows it is signed in as the user, or gives the password once more.
"""

from uuid import UUID

from idp.accounts.account_services import AccountServices
from idp.accounts.password_proof import PasswordProof
from idp.audit.record import Origin, record
from idp.errors import EmailTaken, InvalidCredentials, OneTimeTokenInvalid
from idp.lifecycle import credentials_changed
from idp.mail.messages import AlreadyRegistered, ConfirmNewEmail, EmailChanged, EmailChangeRequested
from idp.principal.model import Principal
from idp.principal.reauthorize import reauthorize
from idp.users import credentials
from idp.users.email import email_key
from idp.users.one_time_tokens import OneTimeToken, Purpose

_CHANGING = frozenset({Purpose.CHANGE})


class ChangeEmail:
    """Changes addresses."""

    def __init__(self, services: AccountServices, proof: PasswordProof) -> None:
        self._services = services
        self._proof = proof

    async def ask(
        self, caller: Principal, current_password: str, new_email: str, origin: Origin, *, session_id: UUID | None
    ) -> None:
        """Mail a link to the new address, and word to the present one. An address that is taken looks the same.

        Args:
            caller: who is signed in, looked at once more when the mails are written.
            current_password: what proves that it is them.
            new_email: as `parse_email` returned it.
            origin: who asks.
            session_id: the session they ask in.

        Raises:
            InvalidCredentials: the present password is another one, or was changed at the same moment.
            RateLimited: too many wrong passwords, or too many mails.
            Busy: too many passwords wait to be checked.
        """
        services, user_id = self._services, caller.user_id
        services.passwords.check_address(new_email, member="new_email")
        proven = await self._proof.check(user_id, current_password, origin, session_id=session_id)
        own, _ = services.rules.verification(user_id, origin.ip_address or "")
        await services.allow(own, *services.rules.verification(email_key(new_email), origin.ip_address or ""))
        async with services.database.transaction() as session:
            holder = await credentials.hold(session, user_id)
            if holder is None or holder.email is None or holder.password_version != proven.password_version:
                raise InvalidCredentials
            await reauthorize(session, caller)
            taken = await credentials.find_by_email(session, new_email)
            token = await services.one_time_tokens.make(session, Purpose.CHANGE, user_id=user_id, email=new_email)
            if taken is None or taken.user_id == user_id:
                hours = services.settings.email_change_hours
                services.mailer.post(session, ConfirmNewEmail(holder.name, token, new_email, hours), to=new_email)
            else:  # nobody was sent the token
                services.mailer.post(session, AlreadyRegistered(taken.name), to=new_email)
            services.mailer.post(session, EmailChangeRequested(holder.name, new_email), to=holder.email)
            record(session, origin, action="user.email_change_requested", user_id=user_id)

    async def check_link(self, presented_token: str, origin: Origin) -> OneTimeToken:
        """Return what a link proves, without using it up; errors as `AccountServices.check_link`."""
        return await self._services.check_link(presented_token, _CHANGING, origin)

    async def confirm(self, presented_token: str, origin: Origin, *, caller: Principal, keep: UUID | None) -> None:
        """Give a signed-in user the address that the link was sent to; their other sessions end.

        Args:
            presented_token: what came with the request.
            origin: who follows the link.
            caller: who is signed in, looked at once more when the address is set.
            keep: the session they are in.

        Raises:
            OneTimeTokenInvalid: the link does not work, is somebody else's, or the address is taken by now.
            RateLimited: too many bad links came from there.
        """
        found = await self.check_link(presented_token, origin)
        if found.user_id != caller.user_id:
            raise OneTimeTokenInvalid
        await self._confirm(found.user_id, presented_token, origin, caller=caller, keep=keep)

    async def _confirm(
        self, user_id: str, presented_token: str, origin: Origin, *, caller: Principal | None, keep: UUID | None
    ) -> None:
        async with self._services.database.transaction() as session:
            holder = await credentials.hold(session, user_id)
            token = await self._services.one_time_tokens.redeem(session, presented_token, _CHANGING)
            if holder is None:
                raise OneTimeTokenInvalid
            if caller is not None:
                await reauthorize(session, caller)
            try:
                ended = await credentials_changed.change_email(session, origin, user_id, token.email, keep=keep)
            except EmailTaken:
                raise OneTimeTokenInvalid from None
            details = {"email": [holder.email, token.email], "ended_sessions": ended}
            record(session, origin, action="user.email_changed", user_id=user_id, details=details)
            if holder.email is not None:
                self._services.mailer.post(session, EmailChanged(holder.name, token.email), to=holder.email)

    async def confirm_with_password(self, presented_token: str, current_password: str, origin: Origin) -> None:
        """Do the same for somebody who follows the link where they are not signed in; all their sessions end.

        Raises:
            InvalidCredentials: the password is not that of the user whose link it is.
        """
        found = await self.check_link(presented_token, origin)
        await self._proof.check(found.user_id, current_password, origin, session_id=None)
        await self._confirm(found.user_id, presented_token, origin, caller=None, keep=None)
