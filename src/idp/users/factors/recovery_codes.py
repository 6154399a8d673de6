"""Recovery codes: shown once, each used once, for a user who has lost their second factor."""

import secrets
from collections.abc import Sequence

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.types import Text
from uuid_utils.compat import uuid7

from idp import clock
from idp.settings import Secret
from idp.signing.peppers import Peppers
from idp.users.factors.models import RecoveryCodeRow

COUNT = 10
_ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # 31 characters that cannot be confused in print
_LENGTH, _GROUP = 12, 4  # 59 bits: a keyed digest without a slow hash is enough, guesses are limited

_FORGET = text("DELETE FROM idp.recovery_codes WHERE user_id = :user_id")
_USE = text("""
UPDATE idp.recovery_codes SET used_at = :now
 WHERE user_id = :user_id AND digest = ANY(:digests) AND used_at IS NULL RETURNING 1
""").bindparams(bindparam("digests", type_=ARRAY(Text())))
_LEFT = text("SELECT count(*) FROM idp.recovery_codes WHERE user_id = :user_id AND used_at IS NULL")


class RecoveryCodes:
    """Creates and checks recovery codes. Every function works in the caller's transaction.

    Args:
        roots: root secrets, the current one first, for the digests that are stored.
    """

    def __init__(self, roots: Sequence[Secret]) -> None:
        self._peppers = Peppers(roots, "recovery-code")

    async def renew(self, session: AsyncSession, user_id: str) -> tuple[str, ...]:
        """Replace all codes of a user, and return the new ones."""
        codes = tuple(_new() for _ in range(COUNT))
        await self.forget(session, user_id)
        now = clock.now()
        for code in codes:
            digest = self._peppers.digest(_plain(code)).hex
            session.add(RecoveryCodeRow(id=uuid7(), user_id=user_id, digest=digest, created_at=now))
        await session.flush()
        return codes

    async def use(self, session: AsyncSession, user_id: str, code: str) -> bool:
        """Use a code up; False if it is wrong or used."""
        digests = self._peppers.possible(_plain(code))
        values = {"user_id": user_id, "digests": digests, "now": clock.now()}
        return (await session.execute(_USE, values)).first() is not None

    async def left(self, session: AsyncSession, user_id: str) -> int:
        """Return how many unused codes a user has."""
        return int(await session.scalar(_LEFT, {"user_id": user_id}) or 0)

    async def forget(self, session: AsyncSession, user_id: str) -> None:
        """Delete all codes of a user."""
        await session.execute(_FORGET, {"user_id": user_id})


def _new() -> str:
    text_ = "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
    return "-".join(text_[at : at + _GROUP] for at in range(0, _LENGTH, _GROUP))


def _plain(code: str) -> str:
    return code.replace("-", "")
