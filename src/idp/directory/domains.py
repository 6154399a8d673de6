"""Domains: make, nest without cycles, deactivate (S3-73). Every function works inside the caller's transaction."""

from typing import Any
from uuid import UUID

from msgspec import UNSET
from sqlalchemy import func, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from idp.audit.record import Origin, record
from idp.db.engine import violated_constraint
from idp.directory.models import DomainRow
from idp.directory.shapes import DomainChange, DomainOut, NewDomain
from idp.errors import DomainCycle, DomainKeyTaken, DomainNotFound

_MAX_DEPTH = 32
_TREE_LOCK = 0x1D9_7BEE  # two moves at once could each be fine and close a circle together
# How many levels lie above and including :parent, whether :moved is one of them, and how tall the tree below :moved is.
_ABOVE = text("""
WITH RECURSIVE above (id, parent, depth) AS (
    SELECT id, parent_domain_id, 1 FROM idp.domains WHERE id = :parent
    UNION ALL
    SELECT d.id, d.parent_domain_id, depth + 1 FROM idp.domains d JOIN above ON d.id = above.parent WHERE depth < 64
), below (id, height) AS (
    SELECT id, 1 FROM idp.domains WHERE id = :moved
    UNION ALL
    SELECT d.id, height + 1 FROM idp.domains d JOIN below ON d.parent_domain_id = below.id WHERE height < 64
)
SELECT (SELECT coalesce(max(depth), 0) FROM above), EXISTS (SELECT FROM above WHERE id = :moved),
       (SELECT coalesce(max(height), 1) FROM below)
""")


async def list_active(session: AsyncSession, *, limit: int | None, offset: int) -> tuple[list[DomainOut], int]:
    """Return active domains by key, all of them or a page, and how many there are."""
    total = await session.scalar(select(func.count()).select_from(DomainRow).where(DomainRow.is_active))
    rows = await session.scalars(
        select(DomainRow).where(DomainRow.is_active).order_by(DomainRow.key).limit(limit).offset(offset)
    )
    return [_out(row) for row in rows], total or 0


async def get(session: AsyncSession, domain_id: UUID) -> DomainOut:
    """Return a domain, active or not.

    Raises:
        DomainNotFound: there is none of this id.
    """
    return _out(await _get(session, domain_id))


async def hold(session: AsyncSession, domain_id: UUID, *, moves: bool = False) -> None:
    """Let nobody else change a domain or who is in it until the commit; of several at once each sees the one before.

    Args:
        session: the caller's transaction.
        domain_id: the domain.
        moves: whether it may go into another parent.

    Raises:
        DomainNotFound: there is none of this id.
    """
    if moves:
        await _lock_tree(session)  # before the row's own lock, so that two moves cannot wait for each other
    await _get(session, domain_id, lock=True)


async def create(session: AsyncSession, origin: Origin, new: NewDomain) -> DomainOut:
    """Make a domain, inside a parent if one is given.

    Raises:
        DomainKeyTaken: a domain, active or not, has this key.
        DomainCycle: the tree would be too deep.
        DomainNotFound: the parent does not exist.
    """
    row = DomainRow(key=new.key, name=new.name)
    if new.parent_domain_id is not None:
        await _nest(session, row, new.parent_domain_id)
    session.add(row)
    await _flush(session)
    record(session, origin, action="domain.created", target=f"domain:{row.id}", details={"key": row.key})
    return _out(row)


async def change(session: AsyncSession, origin: Origin, domain_id: UUID, wanted: DomainChange) -> DomainOut:
    """Change what is given.

    Raises:
        DomainNotFound: there is none of this id, or the parent does not exist.
        DomainCycle: the new parent lies inside this domain, or the tree would be too deep.
    """
    await hold(session, domain_id, moves=wanted.parent_domain_id is not UNSET)
    row = await _get(session, domain_id)
    before = _out(row)
    if wanted.name is not UNSET:
        row.name = wanted.name
    if wanted.is_active is not UNSET:
        row.is_active = wanted.is_active
    if wanted.parent_domain_id is None:
        row.parent_domain_id = None
    elif wanted.parent_domain_id is not UNSET:
        await _nest(session, row, wanted.parent_domain_id)
    await _flush(session)
    after = _out(row)
    changed = _changes(before, after)
    if changed:
        record(session, origin, action=_verb(changed), target=f"domain:{row.id}", details=changed)
    return after


def _changes(before: DomainOut, after: DomainOut) -> dict[str, Any]:
    pairs = {name: (getattr(before, name), getattr(after, name)) for name in before.__struct_fields__}
    return {name: [_plain(old), _plain(new)] for name, (old, new) in pairs.items() if old != new}


def _plain(value: object) -> object:
    return str(value) if isinstance(value, UUID) else value


def _verb(changed: dict[str, Any]) -> str:
    if "is_active" in changed:
        return "domain.activated" if changed["is_active"][1] else "domain.deactivated"
    return "domain.nested" if "parent_domain_id" in changed else "domain.renamed"


async def _lock_tree(session: AsyncSession) -> None:
    await session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _TREE_LOCK})


async def _nest(session: AsyncSession, row: DomainRow, parent: UUID) -> None:
    await _lock_tree(session)
    depth, inside_itself, height = (await session.execute(_ABOVE, {"parent": parent, "moved": row.id})).one()
    if depth == 0:
        raise DomainNotFound("parent_domain_id names no domain.")
    if inside_itself or depth + height > _MAX_DEPTH:
        raise DomainCycle
    row.parent_domain_id = parent


async def _get(session: AsyncSession, domain_id: UUID, *, lock: bool = False) -> DomainRow:
    # Not against who is assigned to it, which only needs it to exist.
    row = await session.get(DomainRow, domain_id, with_for_update={"key_share": True} if lock else None)
    if row is None:
        raise DomainNotFound
    return row


async def _flush(session: AsyncSession) -> None:
    try:
        await session.flush()
    except IntegrityError as error:
        if violated_constraint(error) == "uq_domains_key":
            raise DomainKeyTaken from error
        raise


def _out(row: DomainRow) -> DomainOut:
    return DomainOut(
        id=row.id, key=row.key, name=row.name, parent_domain_id=row.parent_domain_id, is_active=row.is_active
    )
