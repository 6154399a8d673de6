"""Identities of users at other issuers: (provider, subject) belongs to one user (SEC-15, SEC-69)."""

from datetime import datetime

from msgspec import Struct
from sqlalchemy import ColumnElement, and_, delete, exists, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from idp import clock
from idp.db.reads import Reads
from idp.events.catalogue import EventType
from idp.events.outbox import publish
from idp.events.shapes import IdentityChanged
from idp.users.models import IdentityRow

_FIND = "SELECT user_id, claims_issued_at, claims_digest FROM idp.identities WHERE provider = $1 AND subject = $2"
CLERK = "clerk"  # provider of Clerk's ids, which are unique across its instances (C-13)


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


class LinkedIdentity(Struct, frozen=True):
    """A user's identity.

    Attributes:
        user_id: the user.
        claims_issued_at: when the newest token was issued whose claims the rules have seen.
        claims_digest: of those claims and of the rules; None if there were no rules.
    """

    user_id: str
    claims_issued_at: datetime | None
    claims_digest: str | None


async def find(reads: Reads, identity: ForeignIdentity) -> LinkedIdentity | None:
    """Return the identity if a user has it.

    Raises:
        DatabaseUnavailable: PostgreSQL is unavailable.
    """
    row = await reads.fetchrow(_FIND, identity.provider, identity.subject)
    return None if row is None else LinkedIdentity(row["user_id"], row["claims_issued_at"], row["claims_digest"])


async def hold(session: AsyncSession, identity: ForeignIdentity) -> LinkedIdentity | None:
    """Return the identity if a user has it, and lock it until the commit."""
    columns = select(IdentityRow.user_id, IdentityRow.claims_issued_at, IdentityRow.claims_digest)
    row = (await session.execute(columns.where(_is(identity)).with_for_update())).one_or_none()
    return None if row is None else LinkedIdentity(*row)


async def keep_claims(
    session: AsyncSession, identity: ForeignIdentity, *, issued_at: datetime | None, digest: str | None
) -> None:
    """Store what the rules have seen."""
    values = {"claims_issued_at": issued_at, "claims_digest": digest}
    await session.execute(update(IdentityRow).where(_is(identity)).values(**values))


async def forget_claims(session: AsyncSession, user_id: str, *, except_at: str) -> None:
    """Let the next token of each of a user's other issuers have its rules evaluated again.

    Args:
        session: the caller's transaction.
        user_id: the user.
        except_at: the issuer whose rules have just been evaluated.
    """
    others = update(IdentityRow).where(IdentityRow.user_id == user_id, IdentityRow.provider != except_at)
    await session.execute(others.where(IdentityRow.claims_digest.is_not(None)).values(claims_digest=""))


def _is(identity: ForeignIdentity) -> ColumnElement[bool]:
    return and_(IdentityRow.provider == identity.provider, IdentityRow.subject == identity.subject)


async def find_user(session: AsyncSession, provider: str, subject: str) -> str | None:
    """Return the id of the user with this identity, who may be deleted."""
    return await session.scalar(
        select(IdentityRow.user_id).where(IdentityRow.provider == provider, IdentityRow.subject == subject)
    )


async def find_subject(session: AsyncSession, user_id: str, provider: str) -> str | None:
    """Return a user's id at an issuer, where they have at most one."""
    of_user = select(IdentityRow.subject).where(IdentityRow.user_id == user_id, IdentityRow.provider == provider)
    return await session.scalar(of_user.limit(1))


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
    if made.scalar_one_or_none() is None:
        return False
    _publish(session, EventType.IDENTITY_LINKED, user_id, identity.provider, identity.subject)
    return True


async def has_one_at(session: AsyncSession, user_id: str, provider: str) -> bool:
    """Whether a user has an identity at this issuer."""
    found = exists().where(IdentityRow.user_id == user_id, IdentityRow.provider == provider)
    return bool((await session.execute(select(found))).scalar())


async def list_of(session: AsyncSession, user_id: str) -> list[IdentityRow]:
    """Return a user's identities, oldest first."""
    query = select(IdentityRow).where(IdentityRow.user_id == user_id)
    return list((await session.scalars(query.order_by(IdentityRow.created_at, IdentityRow.id))).all())


async def unlink(session: AsyncSession, identity: IdentityRow) -> None:
    """Take an identity away from its user."""
    _publish(session, EventType.IDENTITY_UNLINKED, identity.user_id, identity.provider, identity.subject)
    await session.delete(identity)
    await session.flush()


async def unlink_all(session: AsyncSession, user_id: str) -> list[str]:
    """Take all identities away from a user, and return the issuer of each."""
    removed = delete(IdentityRow).where(IdentityRow.user_id == user_id)
    rows = (await session.execute(removed.returning(IdentityRow.provider, IdentityRow.subject))).all()
    for provider, subject in rows:
        _publish(session, EventType.IDENTITY_UNLINKED, user_id, provider, subject)
    return [provider for provider, _ in rows]


def _publish(session: AsyncSession, type_: EventType, user_id: str, provider: str, subject: str) -> None:
    data = IdentityChanged(user_id=user_id, provider=provider, subject=subject)
    publish(session, type_, data, subject=user_id)
