"""The present password, asked for once more before something is changed that keeps an account its owner's (SEC-6)."""

from typing import NoReturn

from idp.accounts.means import Means
from idp.audit.record import Origin, record
from idp.errors import InvalidCredentials
from idp.users import credentials
from idp.users.credentials import Holder
from idp.users.email import email_key

_TEXT = "Current password is incorrect"


class PasswordProof:
    """Checks present passwords. Wrong ones count like failed sign-ins of the account."""

    def __init__(self, means: Means) -> None:
        self._means = means

    async def check(self, user_id: str, password: str, origin: Origin) -> Holder:
        """Return the user whose password this is.

        Raises:
            InvalidCredentials: it is not, they have none, or they are disabled.
            RateLimited: too many wrong ones came before.
            Busy: too many passwords wait to be checked.
        """
        means = self._means
        async with means.database.transaction() as session:
            holder = await credentials.find_by_id(session, user_id)
        account = email_key(holder.email) if holder and holder.email else user_id
        (pair, key), *wider = means.rules.login(account, origin.ip_address or "")
        async with means.limiter.attempt(pair, key, *wider) as attempt:
            check = await means.passwords.check(holder.password_hash if holder else None, password)
            if holder is None or not check.fits or not holder.is_active:
                attempt.fail()
                await self._refuse(user_id, origin)
        return holder

    async def _refuse(self, user_id: str, origin: Origin) -> NoReturn:
        async with self._means.database.transaction() as session:
            record(session, origin, action="user.password_check_failed", user_id=user_id)
        raise InvalidCredentials(_TEXT)
