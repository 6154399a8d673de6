"""One-time tokens: what a link in a mail proves, once. Only their keyed digests are stored (S4-04, S4-05, SEC-10).

A token belongs to a user *and* an address: it dies when it is used, when it expires, when another one of its kind is
made, when the user's address or password changes, and it is good for nobody who is disabled.
"""

import re
import secrets
from collections.abc import Collection, Sequence
from datetime import timedelta
from enum import StrEnum

from msgspec import Struct
from sqlalchemy import delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql import ColumnElement
from uuid_utils.compat import uuid7

from idp import clock
from idp.errors import OneTimeTokenInvalid
from idp.settings import Secret
from idp.settings_schema import Accounts
from idp.signing.peppers import Peppers
from idp.users.email import email_key
from idp.users.models import EmailTokenRow, PasswordTokenRow, UserRow

_BYTES = 32
_FORM = re.compile(rf"[0-9a-f]{{{2 * _BYTES}}}\Z")
_KEPT = timedelta(days=30)  # after its end, a row only remembers what was sent


class Purpose(StrEnum):
    """What a token is good for."""

    REGISTER = "register"  # verify the address of an account that /api/auth/email/register made with its password
    VERIFY = "verify"  # verify the address of an account that somebody else may have made
    CHANGE = "change"  # take this address instead of the present one
    RESET = "reset"  # choose another password
    INVITE = "invite"  # choose the first password


VERIFYING = frozenset({Purpose.REGISTER, Purpose.VERIFY})
CHOOSING = frozenset({Purpose.RESET, Purpose.INVITE})
# What a new one ends. Anybody may ask for a reset of an address, so one leaves an invitation good.
_ENDS = {
    Purpose.REGISTER: VERIFYING,
    Purpose.VERIFY: VERIFYING,
    Purpose.CHANGE: frozenset({Purpose.CHANGE}),
    Purpose.RESET: frozenset({Purpose.RESET}),
    Purpose.INVITE: CHOOSING,
}
TokenRow = type[EmailTokenRow] | type[PasswordTokenRow]


class OneTimeToken(Struct, frozen=True):
    """What a token proves: that whoever presents it reads this address, and is or wants to be this user."""

    purpose: Purpose
    user_id: str
    email: str


class OneTimeTokens:
    """Makes and redeems one-time tokens, inside the caller's transaction.

    Args:
        roots: root secrets, the current one first.
        settings: how long they live.
    """

    def __init__(self, roots: Sequence[Secret], settings: Accounts) -> None:
        self._peppers = Peppers(roots, "one-time-token")
        self._lives = {
            Purpose.REGISTER: timedelta(hours=settings.verification_hours),
            Purpose.VERIFY: timedelta(hours=settings.verification_hours),
            Purpose.CHANGE: timedelta(hours=settings.email_change_hours),
            Purpose.RESET: timedelta(minutes=settings.reset_minutes),
            Purpose.INVITE: timedelta(days=settings.invitation_days),
        }

    async def make(self, session: AsyncSession, purpose: Purpose, *, user_id: str, email: str) -> str:
        """Return a new token of 64 hexadecimal characters (256 bits); earlier ones of its kind end.

        Args:
            session: a transaction that holds the user's row, so that of two made at once one stays.
            purpose: what it is good for.
            user_id: whose it is.
            email: the address it is sent to.
        """
        row, now, token = _table(purpose), clock.now(), secrets.token_hex(_BYTES)
        await session.execute(delete(row).where(row.user_id == user_id, row.expires_at < now - _KEPT))
        await _end(session, row, row.user_id == user_id, row.purpose.in_(_ENDS[purpose]))
        session.add(
            row(
                id=uuid7(),
                user_id=user_id,
                purpose=purpose,
                email=email,
                digest=self._peppers.digest(token).hex,
                created_at=now,
                expires_at=now + self._lives[purpose],
            )
        )
        await session.flush()
        return token

    async def find(
        self, session: AsyncSession, presented_token: str, purposes: Collection[Purpose]
    ) -> OneTimeToken | None:
        """Return what a token proves, without using it up; None where it proves nothing."""
        if not _FORM.match(presented_token):
            return None
        row = _table(*purposes)
        found = await session.execute(
            select(row.purpose, row.user_id, row.email, UserRow.email_key)
            .join(UserRow, UserRow.id == row.user_id)
            .where(*self._is_good(row, presented_token, purposes), UserRow.is_active, UserRow.deleted_at.is_(None))
        )
        first = found.first()
        if first is None:
            return None
        token = OneTimeToken(Purpose(first.purpose), first.user_id, first.email)
        return token if _is_of_address(token, first.email_key) else None

    async def redeem(self, session: AsyncSession, presented_token: str, purposes: Collection[Purpose]) -> OneTimeToken:
        """Use a token up. Of many who present it at once, exactly one succeeds.

        Args:
            session: the transaction that does what the token is for; rolled back, the token is unused again.
            presented_token: what came with the request.
            purposes: what it may be good for here.

        Raises:
            OneTimeTokenInvalid: malformed, unknown, expired, used, for something else, for an address that the user
                has no more, or of somebody disabled; nobody is told which.
        """
        found = await self.find(session, presented_token, purposes)
        row = _table(*purposes)
        # Whoever comes second waits here for the first, and then finds it used.
        used = update(row).where(*self._is_good(row, presented_token, purposes)).values(used_at=clock.now())
        if found is None or (await session.execute(used.returning(row.user_id))).scalar_one_or_none() is None:
            raise OneTimeTokenInvalid
        return found

    def _is_good(
        self, row: TokenRow, presented_token: str, purposes: Collection[Purpose]
    ) -> tuple[ColumnElement[bool], ...]:
        return (
            row.digest.in_(self._peppers.possible(presented_token)),
            row.purpose.in_(purposes),
            row.used_at.is_(None),
            row.expires_at > clock.now(),
        )


async def last_purpose(session: AsyncSession, user_id: str) -> Purpose | None:
    """Return what the newest link that verifies this user's address is good for, live or not."""
    newest = select(EmailTokenRow.purpose).where(EmailTokenRow.user_id == user_id, EmailTokenRow.purpose.in_(VERIFYING))
    found = await session.scalar(newest.order_by(EmailTokenRow.created_at.desc(), EmailTokenRow.id.desc()).limit(1))
    return Purpose(found) if found else None


async def forget_all(session: AsyncSession, user_id: str) -> None:
    """End every link that was ever sent to a user: their address or password is another one now."""
    for row in (EmailTokenRow, PasswordTokenRow):
        await _end(session, row, row.user_id == user_id)


async def _end(session: AsyncSession, row: TokenRow, *which: ColumnElement[bool]) -> None:
    # Not by `expires_at`: another machine's clock may be behind ours.
    await session.execute(update(row).where(*which, row.used_at.is_(None)).values(used_at=clock.now()))


def _table(*purposes: Purpose) -> TokenRow:
    return PasswordTokenRow if CHOOSING.issuperset(purposes) else EmailTokenRow


def _is_of_address(token: OneTimeToken, present_key: str | None) -> bool:
    """Whether the token was sent to the address that the user has; one for a new address ends when theirs changes."""
    return token.purpose is Purpose.CHANGE or email_key(token.email) == present_key
