"""Verification of the current password before a change of password or address (SEC-6).

Wrong passwords count as at sign-in (decision 0021). At the limit the next wrong one ends its session, so a stolen
session cannot continue guessing, and guesses from outside do not block an owner who knows the password.
"""

from typing import NoReturn
from uuid import UUID

from idp.accounts.account_services import AccountServices
from idp.accounts.wrong_passwords import count_wrong_password
from idp.audit.record import Origin, record
from idp.errors import InvalidCredentials
from idp.sessions import service as sessions
from idp.users import credentials, sign_in_failures
from idp.users.credentials import Holder
from idp.users.email import email_key

_TEXT = "Current password is incorrect"


class PasswordProof:
    """Checks current passwords. Wrong ones are counted per session, or like failed sign-ins without a session."""

    def __init__(self, services: AccountServices) -> None:
        self._services = services

    async def check(self, user_id: str, password: str, origin: Origin, *, session_id: UUID | None) -> Holder:
        """Verify the password and return the user.

        Args:
            user_id: the user.
            password: the entered password.
            origin: the request's origin.
            session_id: the request's session. It is counted separately, so that guesses from outside cannot keep the
            owner from changing the password (SEC-8); None counts for the account.

        Raises:
            InvalidCredentials: the password is wrong or not set, or the user is disabled.
            RateLimited: too many wrong passwords.
            Busy: the password queue is full.
        """
        services = self._services
        async with services.database.transaction() as session:
            holder = await credentials.find_by_id(session, user_id)
            failures = await sign_in_failures.read(session, user_id)
        is_locked = session_id is None and failures >= services.rules.consecutive_failures
        account = email_key(holder.email) if holder and holder.email else user_id
        device = f"session:{session_id}" if session_id else None
        (pair, key), *wider = services.rules.login(account, origin.ip_address or "", device=device)
        async with services.limiter.attempt(pair, key, *wider) as attempt:
            stored = holder.password_hash if holder else None
            check = await services.passwords.check(stored, password, asker=origin.ip_address)
            if holder is None or not check.matches or not holder.is_active or is_locked:
                attempt.fail()
                guessed = holder if holder is not None and not check.matches else None
                await self._refuse(user_id, guessed, origin, session_id=session_id, unverifiable=check.unverifiable)
        return holder

    async def _refuse(
        self, user_id: str, guessed: Holder | None, origin: Origin, *, session_id: UUID | None, unverifiable: str | None
    ) -> NoReturn:
        services = self._services
        async with services.database.transaction() as session:
            await credentials.hold(session, user_id)
            details = {"stored_password": unverifiable} if unverifiable else None
            record(session, origin, action="user.password_check_failed", user_id=user_id, details=details)
            limit = services.rules.consecutive_failures
            is_over = guessed is not None and await count_wrong_password(session, services.mailer, guessed, limit=limit)
            if is_over and session_id is not None:
                reason = sessions.TOO_MANY_WRONG_PASSWORDS
                await sessions.end(session, origin, session_id, user_id=user_id, reason=reason)
        raise InvalidCredentials(_TEXT)
