"""Identities of users at other issuers: (provider, subject) belongs to one user (SEC-15, SEC-69)."""

from msgspec import Struct
from sqlalchemy import delete, exists, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from idp import clock
from idp.db.reads import Reads
from idp.users.models import IdentityRow

CLERK = "clerk"  # provider of Clerk's ids, which are unique across its instances (C-13)
_FIND = "SELECT FROM idp.identities WHERE provider = $1 AND subject = $2"


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


async def is_linked(reads: Reads, identity: ForeignIdentity) -> bool:
    """Whether a user has this identity.

    Raises:
        DatabaseUnavailable: PostgreSQL is unavailable.
    """
    return await reads.fetchrow(_FIND, identity.provider, identity.subject) is not None


async def find_user(session: AsyncSession, provider: str, subject: str) -> str | None:
    """Return the id of the user with this identity, who may be deleted."""
    return await session.scalar(
        select(IdentityRow.user_id).where(IdentityRow.provider == provider, IdentityRow.subject == subject)
    )


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


async def has_one_at(session: AsyncSession, user_id: str, provider: str) -> bool:
    """Whether a user has an identity at this issuer."""
    found = exists().where(IdentityRow.user_id == user_id, IdentityRow.provider == provider)
    return bool((await session.execute(select(found))).scalar())


async def unlink_all(session: AsyncSession, user_id: str) -> int:
    """Take all identities away from a user, and return their number."""
    removed = delete(IdentityRow).where(IdentityRow.user_id == user_id).returning(IdentityRow.id)
    return len((await session.execute(removed)).all())
