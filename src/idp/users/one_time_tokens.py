"""One-time tokens of mailed links. Only their keyed digests are stored (S4-04, S4-05, SEC-10).

A token belongs to a user *and* an address. It becomes invalid when it is used, expires, or is replaced by a newer one,
when the user's address or password changes, and when the user is disabled.
"""

import hashlib
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

LINK_HOURS = 1
_BYTES = 32
_FORM = re.compile(rf"[0-9a-f]{{{2 * _BYTES}}}\Z")
_RETENTION = timedelta(days=30)  # retention of rows after their end


class Purpose(StrEnum):
    """The purpose of a token."""

    REGISTER = "register"  # verify the address of an account from /api/auth/email/register; keeps its password
    VERIFY = "verify"  # verify the address of an account that a stranger may have created
    CHANGE = "change"  # set this address
    RESET = "reset"  # set a new password
    INVITE = "invite"  # set the first password
    LINK = "link"  # sign in with an identity at another provider from now on


VERIFYING = frozenset({Purpose.REGISTER, Purpose.VERIFY})
CHOOSING = frozenset({Purpose.RESET, Purpose.INVITE})
# Purposes that a new token revokes. Anyone may request a reset, so it does not revoke an invitation.
_REVOKES = {
    Purpose.REGISTER: VERIFYING,
    Purpose.VERIFY: VERIFYING,
    Purpose.CHANGE: frozenset({Purpose.CHANGE}),
    Purpose.RESET: frozenset({Purpose.RESET}),
    Purpose.INVITE: CHOOSING,
    Purpose.LINK: frozenset({Purpose.LINK}),
}
TokenRow = type[EmailTokenRow] | type[PasswordTokenRow]


class OneTimeToken(Struct, frozen=True):
    """A verified token: its user, address and purpose."""

    purpose: Purpose
    user_id: str
    email: str


class OneTimeTokens:
    """Creates and redeems one-time tokens, inside the caller's transaction.

    Args:
        roots: root secrets, the current one first.
        settings: their lifetimes.
    """

    def __init__(self, roots: Sequence[Secret], settings: Accounts) -> None:
        self._peppers = Peppers(roots, "one-time-token")
        self._lifetimes = {
            Purpose.REGISTER: timedelta(hours=settings.verification_hours),
            Purpose.VERIFY: timedelta(hours=settings.verification_hours),
            Purpose.CHANGE: timedelta(hours=settings.email_change_hours),
            Purpose.RESET: timedelta(minutes=settings.reset_minutes),
            Purpose.INVITE: timedelta(days=settings.invitation_days),
            Purpose.LINK: timedelta(hours=LINK_HOURS),
        }

    async def make(self, session: AsyncSession, purpose: Purpose, *, user_id: str, email: str) -> str:
        """Return a new token of 64 hexadecimal characters (256 bits); earlier ones of its kind are revoked.

        Args:
            session: a transaction that locks the user's row.
            purpose: its purpose.
            user_id: the user.
            email: the address it is sent to.
        """
        row, now, token = _table(purpose), clock.now(), secrets.token_hex(_BYTES)
        await session.execute(delete(row).where(row.user_id == user_id, row.expires_at < now - _RETENTION))
        await _end(session, row, row.user_id == user_id, row.purpose.in_(_REVOKES[purpose]))
        session.add(
            row(
                id=uuid7(),
                user_id=user_id,
                purpose=purpose,
                email=email,
                digest=self._peppers.digest(token).hex,
                created_at=now,
                expires_at=now + self._lifetimes[purpose],
            )
        )
        await session.flush()
        return token

    async def find(
        self, session: AsyncSession, presented_token: str, purposes: Collection[Purpose]
    ) -> OneTimeToken | None:
        """Return a valid token without consuming it, else None."""
        if not _FORM.match(presented_token):
            return None
        row = _table(*purposes)
        found = await session.execute(
            select(row.purpose, row.user_id, row.email, UserRow.email_key)
            .join(UserRow, UserRow.id == row.user_id)
            .where(*self._is_valid(row, presented_token, purposes), UserRow.is_active, UserRow.deleted_at.is_(None))
        )
        first = found.first()
        if first is None:
            return None
        token = OneTimeToken(Purpose(first.purpose), first.user_id, first.email)
        return token if _is_of_address(token, first.email_key) else None

    async def redeem(self, session: AsyncSession, presented_token: str, purposes: Collection[Purpose]) -> OneTimeToken:
        """Consume a token. Of concurrent requests exactly one succeeds.

        Args:
            session: the transaction of the token's effect; a rollback restores the token.
            presented_token: the token of the request.
            purposes: accepted purposes.

        Raises:
            OneTimeTokenInvalid: malformed, unknown, expired, used, of another purpose, for a former address, or of a
            disabled user; the error does not say which.
        """
        found = await self.find(session, presented_token, purposes)
        row = _table(*purposes)
        # A concurrent request waits here and then finds it used.
        used = update(row).where(*self._is_valid(row, presented_token, purposes)).values(used_at=clock.now())
        if found is None or (await session.execute(used.returning(row.user_id))).scalar_one_or_none() is None:
            raise OneTimeTokenInvalid
        return found

    def _is_valid(
        self, row: TokenRow, presented_token: str, purposes: Collection[Purpose]
    ) -> tuple[ColumnElement[bool], ...]:
        return (
            row.digest.in_((*self._peppers.possible(presented_token), imported_digest(presented_token))),
            row.purpose.in_(purposes),
            row.used_at.is_(None),
            row.expires_at > clock.now(),
        )


def imported_digest(token: str) -> str:
    """Return the digest under which `idp import` stores a token that the FastAPI auth service mailed (256 bits)."""
    return hashlib.sha256(token.encode()).hexdigest()


async def last_purpose(session: AsyncSession, user_id: str) -> Purpose | None:
    """Return the purpose of the newest verification token of this user, valid or not."""
    newest = select(EmailTokenRow.purpose).where(EmailTokenRow.user_id == user_id, EmailTokenRow.purpose.in_(VERIFYING))
    found = await session.scalar(newest.order_by(EmailTokenRow.created_at.desc(), EmailTokenRow.id.desc()).limit(1))
    return Purpose(found) if found else None


async def revoke_all(session: AsyncSession, user_id: str) -> None:
    """Revoke all tokens of a user, after a change of address or password."""
    for row in (EmailTokenRow, PasswordTokenRow):
        await _end(session, row, row.user_id == user_id)


async def _end(session: AsyncSession, row: TokenRow, *conditions: ColumnElement[bool]) -> None:
    # Not by `expires_at`, because another machine's clock may be behind ours.
    await session.execute(update(row).where(*conditions, row.used_at.is_(None)).values(used_at=clock.now()))


def _table(*purposes: Purpose) -> TokenRow:
    return PasswordTokenRow if CHOOSING.issuperset(purposes) else EmailTokenRow


def _is_of_address(token: OneTimeToken, present_key: str | None) -> bool:
    """Whether the token still matches the user's current address."""
    return token.purpose is Purpose.CHANGE or email_key(token.email) == present_key
