"""Verifying an address: the link in the mail is followed, or asked for again (S4-13, S4-14, C-11, C-31)."""

from collections.abc import Mapping

from sqlalchemy.ext.asyncio import AsyncSession

from idp.accounts.account_services import AccountServices
from idp.accounts.timing_decoy import decoy_address, lock_user_or_decoy, undo
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
        self.front_end = services.front_end  # where somebody goes on, once they are signed in

    async def check_link(self, presented_token: str, origin: Origin) -> OneTimeToken:
        """Return what a link proves, without using it up; errors as `AccountServices.check_link`."""
        return await self._services.check_link(presented_token, VERIFYING, origin)

    async def verify(
        self,
        session: AsyncSession,
        presented_token: str,
        found: OneTimeToken,
        origin: Origin,
        *,
        cookies: Mapping[str, str],
    ) -> Holder:
        """Use a link up, and return whose address is verified now.

        The first to verify an account claims it: what was made before ends, and so does the password, unless the
        registration that this link belongs to has set it, or the browser that follows the link has registered or signed
        in with it. A password that ends is told in the mail.

        Args:
            session: a transaction that has done nothing yet: the lock of the keys comes first (C-27).
            presented_token: what came with the request.
            found: what `check_link` said of it.
            origin: who presents it.
            cookies: of the request, which may be of the browser that registered.

        Raises:
            OneTimeTokenInvalid: it was used, replaced or outdated since.
        """
        await lock(session)
        before = await credentials.hold(session, found.user_id)
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

    async def ask_again(self, email: str, origin: Origin, *, cookies: Mapping[str, str]) -> Holder | None:
        """Return who may be sent another link; as `AccountServices.may_be_sent`."""
        return await self._services.may_be_sent(email, origin, self._services.rules.verification, cookies=cookies)

    async def send_again(self, found: Holder | None) -> None:
        """Mail a new link of the kind that was sent last; after the answer, and as much work for nobody (SEC-9).

        An account that was never sent one may be somebody else's making: then the link claims it without its password.
        """
        services = self._services
        async with services.database.transaction() as session, session.begin_nested() as savepoint:
            holder = await lock_user_or_decoy(session, found)
            to = holder.email or decoy_address()
            purpose = await last_purpose(session, holder.user_id) or Purpose.VERIFY
            token = await services.one_time_tokens.make(session, purpose, user_id=holder.user_id, email=to)
            mail = VerifyEmailMail(holder.name, token, services.settings.verification_hours)
            services.mailer.post(session, mail, to=to, at_leisure=True)
            if not holder.is_active or holder.email_verified or holder.email is None:
                await undo(session, savepoint)
