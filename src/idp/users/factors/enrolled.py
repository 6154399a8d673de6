"""Which second factors users have."""

from datetime import datetime

from msgspec import Struct
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from idp.db.engine import Database

# Recovery codes are none: they stand in for a factor that a user has lost.
HAS_SECOND_FACTOR = (
    "EXISTS (SELECT FROM idp.passkeys p WHERE p.user_id = :user_id)"
    " OR EXISTS (SELECT FROM idp.totp_secrets t WHERE t.user_id = :user_id)"
)
_HAS_ANY = text(f"SELECT {HAS_SECOND_FACTOR}")
_OVERVIEW = text("""
SELECT (SELECT created_at FROM idp.totp_secrets WHERE user_id = :user_id) AS totp_since,
       (SELECT last_used_at FROM idp.totp_secrets WHERE user_id = :user_id) AS totp_last_used,
       (SELECT count(*) FROM idp.passkeys WHERE user_id = :user_id) AS passkeys,
       (SELECT count(*) FROM idp.recovery_codes WHERE user_id = :user_id AND used_at IS NULL) AS recovery_codes
""")


class FactorOverview(Struct, frozen=True):
    """The second factors of a user.

    Attributes:
        totp_since: since when they have an authenticator app, None without one.
        totp_last_used: when a code of it was used.
        passkeys: how many they have.
        recovery_codes: how many unused ones they have.
    """

    totp_since: datetime | None
    totp_last_used: datetime | None
    passkeys: int
    recovery_codes: int

    @property
    def has_any(self) -> bool:
        """Whether they have a second factor."""
        return self.totp_since is not None or self.passkeys > 0

    @property
    def methods(self) -> tuple[str, ...]:
        """What they can prove themselves with at sign-in; the preferred one first."""
        offered = {
            "passkey": self.passkeys > 0,
            "totp": self.totp_since is not None,
            "recovery_code": self.has_any and self.recovery_codes > 0,
        }
        return tuple(name for name, is_offered in offered.items() if is_offered)


async def overview(session: AsyncSession, user_id: str) -> FactorOverview:
    """Return which second factors a user has."""
    return FactorOverview(**(await session.execute(_OVERVIEW, {"user_id": user_id})).mappings().one())


_REMOVE_ALL = text("""
WITH totp AS (DELETE FROM idp.totp_secrets WHERE user_id = :user_id RETURNING 1),
     keys AS (DELETE FROM idp.passkeys WHERE user_id = :user_id RETURNING 1),
     codes AS (DELETE FROM idp.recovery_codes WHERE user_id = :user_id RETURNING 1)
SELECT (SELECT count(*) FROM totp) + (SELECT count(*) FROM keys) + (SELECT count(*) FROM codes)
""")


async def remove_all(session: AsyncSession, user_id: str) -> int:
    """Remove all second factors and recovery codes of a user; return how many."""
    return int(await session.scalar(_REMOVE_ALL, {"user_id": user_id}) or 0)


class EnrolledFactors:
    """Answers which second factors a user has.

    Args:
        database: stores them.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def has_any(self, user_id: str) -> bool:
        """Whether a user has a passkey or an authenticator app.

        Raises:
            DatabaseUnavailable: PostgreSQL is unavailable.
        """
        async with self._database.transaction() as session:
            return bool((await session.execute(_HAS_ANY, {"user_id": user_id})).scalar())
