"""Domains: created, nested without cycles, deactivated (S3-73)."""

from typing import Any
from uuid import UUID

from advanced_alchemy.filters import OrderBy
from msgspec import UNSET, Struct
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from idp.db.repository import Repository
from idp.directory.groups import Groups
from idp.directory.models import DomainRow
from idp.directory.shapes import DomainOut, NewDomain
from idp.errors import DomainCycle, DomainKeyTaken, DomainNotFound

_MAX_DEPTH = 32
_TREE_LOCK = 0x1D9_7BEE  # two concurrent moves could create a cycle together
# The depth of :parent, whether :moved is an ancestor of it (or it), and the height of the tree below :moved.
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


class DomainRepository(Repository[DomainRow]):
    """Domains, by key."""

    model_type = DomainRow
    ordering = (OrderBy("key"),)


class Domains(Groups[DomainRow, DomainOut]):
    """Domains. Their keys are unique, and they can be nested."""

    noun = "domain"
    repository = DomainRepository
    out = DomainOut
    not_found = DomainNotFound
    name_column = "key"
    taken = DomainKeyTaken

    async def lock(self, session: AsyncSession, group_id: UUID, change: Struct | None = None) -> DomainRow:
        """Lock a domain and its users until the commit; lock the tree, too, if the parent may change."""
        if getattr(change, "parent_domain_id", UNSET) is not UNSET:
            await _lock_tree(session)  # before the row lock: two concurrent moves must not deadlock
        return await super().lock(session, group_id)

    async def _make(self, session: AsyncSession, new: NewDomain) -> DomainRow:
        row = DomainRow(key=new.key, name=new.name)
        if new.parent_domain_id is not None:
            await _nest(session, row, new.parent_domain_id)
        return row

    async def _set(self, session: AsyncSession, row: DomainRow, name: str, value: Any) -> None:
        if name == "parent_domain_id" and value is not None:
            await _nest(session, row, value)
        else:
            await super()._set(session, row, name, value)

    def _verb(self, changed: dict[str, Any]) -> str:
        return "nested" if "parent_domain_id" in changed and "is_active" not in changed else super()._verb(changed)


DOMAINS = Domains()


async def _lock_tree(session: AsyncSession) -> None:
    await session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _TREE_LOCK})


async def _nest(session: AsyncSession, row: DomainRow, parent: UUID) -> None:
    await _lock_tree(session)
    depth, is_cycle, height = (await session.execute(_ABOVE, {"parent": parent, "moved": row.id})).one()
    if depth == 0:
        raise DomainNotFound("There is no domain with this parent_domain_id.")
    if is_cycle or depth + height > _MAX_DEPTH:
        raise DomainCycle
    row.parent_domain_id = parent
