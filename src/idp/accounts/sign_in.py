"""Sign-in with a password: an unknown user, a wrong password and a disabled account look the same (SEC-9)."""

from typing import NoReturn

from idp.audit.record import Origin, record
from idp.db.engine import Database
from idp.errors import InvalidCredentials
from idp.ops import metrics
from idp.ops.rate_limit import Limiter, LoginRules
from idp.users import service as users
from idp.users.email import email_key
from idp.users.passwords import Passwords


class SignIn:
    """Checks e-mail and password."""

    def __init__(self, database: Database, passwords: Passwords, limiter: Limiter, rules: LoginRules) -> None:
        self._database = database
        self._passwords = passwords
        self._limiter = limiter
        self._rules = rules

    async def with_password(self, email: str, password: str, origin: Origin) -> str:
        """Return the id of the user whose address and password these are.

        Raises:
            InvalidCredentials: they are not, or the account is disabled.
            RateLimited: too many failed attempts came before.
            Busy: too many passwords wait to be checked.
        """
        (pair, key), *wider = self._rules.login(email_key(email), origin.ip_address or "")
        async with self._limiter.attempt(pair, key, *wider) as attempt:
            async with self._database.transaction() as session:
                stored = await users.find_password(session, email)
            check = await self._passwords.check(stored.password_hash if stored else None, password)
            if stored is None or not check.fits or not stored.is_active:
                attempt.fail()
                await self._refuse(stored.user_id if stored else None, origin)
        async with self._database.transaction() as session:
            if check.rehashed and stored.password_hash:
                await users.replace_hash(session, stored.user_id, old=stored.password_hash, new=check.rehashed)
            record(
                session,
                origin,
                action="user.signed_in",
                user_id=stored.user_id,
                details={"method": "password"},
            )
        metrics.count_attempt(method="password", outcome="authenticated")
        return stored.user_id

    async def _refuse(self, user_id: str | None, origin: Origin) -> NoReturn:
        """Record the failure, commit, and only then refuse: a refusal must not roll its own record back (rule 4)."""
        async with self._database.transaction() as session:
            record(session, origin, action="user.sign_in_failed", user_id=user_id, details={"method": "password"})
        metrics.count_attempt(method="password", outcome="invalid_credentials")
        raise InvalidCredentials
