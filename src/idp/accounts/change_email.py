"""Change of e-mail address: requested with the password, confirmed with a link to the new address (SEC-6).

The link alone is not sufficient. Mailed to a mistyped address, it would give the account to a stranger; mailed to a
victim, it would put their verified address on another user's account. So the confirmation also requires the user's
session or the password.
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
    """Changes e-mail addresses."""

    def __init__(self, services: AccountServices, proof: PasswordProof) -> None:
        self._services = services
        self._proof = proof

    async def request_link(
        self, caller: Principal, current_password: str, new_email: str, origin: Origin, *, session_id: UUID | None
    ) -> None:
        """Mail a link to the new address and a notice to the current one; a taken address gets the same response.

        Args:
            caller: the signed-in user, authorized again when the mails are written.
            current_password: proves the user's identity.
            new_email: as `parse_email` returned it.
            origin: the request's origin.
            session_id: the request's session.

        Raises:
            InvalidCredentials: the password is wrong, or was changed concurrently.
            RateLimited: too many wrong passwords, or too many mails.
            Busy: the password queue is full.
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
            existing = await credentials.find_by_email(session, new_email)
            token = await services.one_time_tokens.make(session, Purpose.CHANGE, user_id=user_id, email=new_email)
            if existing is None or existing.user_id == user_id:
                hours = services.settings.email_change_hours
                services.mailer.post(session, ConfirmNewEmail(holder.name, token, new_email, hours), to=new_email)
            else:  # the token was not sent
                services.mailer.post(session, AlreadyRegistered(existing.name), to=new_email)
            services.mailer.post(session, EmailChangeRequested(holder.name, new_email), to=holder.email)
            record(session, origin, action="user.email_change_requested", user_id=user_id)

    async def check_link(self, presented_token: str, origin: Origin) -> OneTimeToken:
        """Return the token of a link without consuming it; raises as `AccountServices.check_link`."""
        return await self._services.check_link(presented_token, _CHANGING, origin)

    async def confirm(self, presented_token: str, origin: Origin, *, caller: Principal, keep: UUID | None) -> None:
        """Set the address for a signed-in user; their other sessions end.

        Args:
            presented_token: the token of the request.
            origin: the request's origin.
            caller: the signed-in user, authorized again when the address is set.
            keep: the request's session, which continues.

        Raises:
            OneTimeTokenInvalid: the link is invalid or another user's, or the address was taken.
            RateLimited: too many invalid links from this client.
        """
        link = await self.check_link(presented_token, origin)
        if link.user_id != caller.user_id:
            raise OneTimeTokenInvalid
        await self._confirm(link.user_id, presented_token, origin, caller=caller, keep=keep)

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
        """Set the address for a user who is not signed in; all their sessions end.

        Raises:
            InvalidCredentials: the password is not the link owner's.
        """
        link = await self.check_link(presented_token, origin)
        await self._proof.check(link.user_id, current_password, origin, session_id=None)
        await self._confirm(link.user_id, presented_token, origin, caller=None, keep=None)
