"""Identities of users at other issuers: (provider, subject) belongs to one user (SEC-15, SEC-69)."""

from msgspec import Struct
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from idp import clock
from idp.db.reads import Reads
from idp.users.models import IdentityRow

_FIND = "SELECT user_id FROM idp.identities WHERE provider = $1 AND subject = $2"


class ForeignIdentity(Struct, frozen=True):
    """The user's data in a verified token of another issuer.

    Attributes:
        provider: the issuer, as configured.
        subject: the user's id at the issuer.
        email: as `parse_email` returned it, None if there is none.
        email_verified: whether the issuer has verified the address, and is trusted for its domain.
        name: display name.
    """

    provider: str
    subject: str
    email: str | None = None
    email_verified: bool = False
    name: str | None = None


async def find_user_id(reads: Reads, identity: ForeignIdentity) -> str | None:
    """Return the id of the user with this identity.

    Raises:
        DatabaseUnavailable: PostgreSQL is unavailable.
    """
    row = await reads.fetchrow(_FIND, identity.provider, identity.subject)
    return None if row is None else str(row["user_id"])


async def link(session: AsyncSession, user_id: str, identity: ForeignIdentity) -> bool:
    """Assign an identity to a user; False if another user has it, also by a concurrent transaction."""
    made = await session.execute(
        insert(IdentityRow)
        .values(
            id=uuid7(),
            user_id=user_id,
            provider=identity.provider,
            subject=identity.subject,
            created_at=clock.now(),
        )
        .on_conflict_do_nothing()
        .returning(IdentityRow.id)
    )
    return made.scalar_one_or_none() is not None
