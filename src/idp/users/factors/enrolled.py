"""Which second factors users have."""

from sqlalchemy import text

from idp.db.engine import Database

# Recovery codes are none: they stand in for a factor that a user has lost.
HAS_SECOND_FACTOR = (
    "EXISTS (SELECT FROM idp.passkeys p WHERE p.user_id = :user_id)"
    " OR EXISTS (SELECT FROM idp.totp_secrets t WHERE t.user_id = :user_id)"
)
_HAS_ANY = text(f"SELECT {HAS_SECOND_FACTOR}")


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
