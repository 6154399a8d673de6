"""E-mail verification: consume the link of the mail, or resend it (S4-13, S4-14, C-11, C-31)."""

from collections.abc import Mapping

from sqlalchemy.ext.asyncio import AsyncSession

from idp.accounts.account_services import AccountServices
from idp.accounts.timing_decoy import decoy_address, flush_and_rollback, lock_user_or_decoy
from idp.apikeys.service import lock
from idp.audit.record import Origin
from idp.errors import OneTimeTokenInvalid
from idp.lifecycle.claim import claim
from idp.mail.messages import VerifyEmail as VerifyEmailMail
from idp.mail.messages import Welcome
from idp.users import credentials
from idp.users.credentials import FIRST_PASSWORD, Holder
from idp.users.one_time_tokens import VERIFYING, OneTimeToken, Purpose, last_purpose


class VerifyEmail:
    """Verifies addresses."""

    def __init__(self, services: AccountServices) -> None:
        self._services = services
        self.front_end = services.front_end  # where the user continues after verification

    async def check_link(self, presented_token: str, origin: Origin) -> OneTimeToken:
        """Return the token of a link without consuming it; raises as `AccountServices.check_link`."""
        return await self._services.check_link(presented_token, VERIFYING, origin)

    async def verify(
        self,
        session: AsyncSession,
        presented_token: str,
        link: OneTimeToken,
        origin: Origin,
        *,
        cookies: Mapping[str, str],
    ) -> Holder:
        """Consume a link, verify the address, and return the user.

        The first verification claims the account: existing credentials are revoked, and the password is cleared, unless
        the link's registration set it, or the browser that opens the link has registered or signed in with it. The mail
        tells if the password was cleared.

        Args:
            session: a new transaction, because the keys' lock must be taken first (C-27).
            presented_token: the token of the request.
            link: the result of `check_link`.
            origin: the request's origin.
            cookies: of the request, to recognize the registering browser.

        Raises:
            OneTimeTokenInvalid: it was used, replaced or expired meanwhile.
        """
        await lock(session)
        before = await credentials.hold(session, link.user_id)
        token = await self._services.one_time_tokens.redeem(session, presented_token, VERIFYING)
        if before is not None and not before.email_verified:
            is_first = token.purpose is Purpose.REGISTER and before.password_version == FIRST_PASSWORD
            is_own = is_first or self._services.is_known(before, cookies)
            await claim(session, origin, token.user_id, keep_password=is_own)
            is_cleared = before.password_hash is not None and not is_own
            self._services.mailer.post(session, Welcome(before.name, password_cleared=is_cleared), to=token.email)
        holder = await credentials.find_by_id(session, token.user_id)
        if holder is None:
            raise OneTimeTokenInvalid
        return holder

    async def request_resend(self, email: str, origin: Origin, *, cookies: Mapping[str, str]) -> Holder | None:
        """Return the user who may receive a new link; as `AccountServices.find_link_recipient`."""
        return await self._services.find_link_recipient(
            email, origin, self._services.rules.verification, cookies=cookies
        )

    async def resend(self, recipient: Holder | None) -> None:
        """Mail a new link of the last kind, after the response; without an account, do the same work for a decoy
        (SEC-9).

        An account without an earlier link may have been created by a stranger; its link clears the password.
        """
        services = self._services
        async with services.database.transaction() as session, session.begin_nested() as savepoint:
            holder = await lock_user_or_decoy(session, recipient)
            to = holder.email or decoy_address()
            purpose = await last_purpose(session, holder.user_id) or Purpose.VERIFY
            token = await services.one_time_tokens.make(session, purpose, user_id=holder.user_id, email=to)
            mail = VerifyEmailMail(holder.name, token, services.settings.verification_hours)
            services.mailer.post(session, mail, to=to, delayed=True)
            if not holder.is_active or holder.email_verified or holder.email is None:
                await flush_and_rollback(session, savepoint)
