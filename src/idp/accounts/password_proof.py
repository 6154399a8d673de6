"""The present password, asked for once more before something is changed that keeps an account its owner's (SEC-6)."""

from typing import NoReturn
from uuid import UUID

from idp.accounts.means import Means
from idp.audit.record import Origin, record
from idp.errors import InvalidCredentials
from idp.users import credentials
from idp.users.credentials import Holder
from idp.users.email import email_key

_TEXT = "Current password is incorrect"


class PasswordProof:
    """Checks present passwords. Wrong ones count by the session they come from, without one like failed sign-ins."""

    def __init__(self, means: Means) -> None:
        self._means = means

    async def check(self, user_id: str, password: str, origin: Origin, *, session_id: UUID | None) -> Holder:
        """Return the user whose password this is.

        Args:
            user_id: who says that they are it.
            password: what was typed.
            origin: who asks.
            session_id: the session they ask in. It counts by itself, so that nobody who guesses at the account from
                outside keeps its owner from changing the password (SEC-8); None counts under the account.

        Raises:
            InvalidCredentials: it is not, they have none, or they are disabled.
            RateLimited: too many wrong ones came before.
            Busy: too many passwords wait to be checked.
        """
        means = self._means
        async with means.database.transaction() as session:
            holder = await credentials.find_by_id(session, user_id)
        account = email_key(holder.email) if holder and holder.email else user_id
        device = f"session:{session_id}" if session_id else None
        (pair, key), *wider = means.rules.login(account, origin.ip_address or "", device=device)
        async with means.limiter.attempt(pair, key, *wider) as attempt:
            stored = holder.password_hash if holder else None
            check = await means.passwords.check(stored, password, asker=origin.ip_address)
            if holder is None or not check.fits or not holder.is_active:
                attempt.fail()
                await self._refuse(user_id, origin, why=check.unverifiable)
        return holder

    async def _refuse(self, user_id: str, origin: Origin, *, why: str | None) -> NoReturn:
        async with self._means.database.transaction() as session:
            details = {"stored_password": why} if why else None
            record(session, origin, action="user.password_check_failed", user_id=user_id, details=details)
        raise InvalidCredentials(_TEXT)
