"""Verifies the hash chain with bounded memory, and reports the first invalid link."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from msgspec import Struct
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from idp.audit.links import BEGINNING, MAX_ID, MIN_ID, RECORD, Link, hash_of, next_slice
from idp.db.engine import Database

_PAGE = 2_000
_NEXT_LINKS = text(f"""
SELECT c.seq, c.hash, c.audit_id, {RECORD}
  FROM (SELECT * FROM idp.audit_chain WHERE seq > :after ORDER BY seq LIMIT :step) c
  LEFT JOIN idp.audit_logs a ON a.id = c.audit_id
 ORDER BY c.seq
""")  # noqa: S608  constants
_LINKS_OF = text(f"""
SELECT c.seq, c.hash, c.audit_id, before.hash AS previous, {RECORD}
  FROM idp.audit_chain c JOIN idp.audit_logs a ON a.id = c.audit_id
  LEFT JOIN idp.audit_chain before ON before.seq = c.seq - 1
 WHERE c.audit_id = ANY(:ids)
""")  # noqa: S608  constants
_BELOW_FIRST = text("SELECT min(seq) FROM idp.audit_chain WHERE seq < 1")


class Broken(Exception):
    """The chain is not intact; the message says where."""


class Findings(Struct, frozen=True):
    """The result of a verification.

    Attributes:
        head: the last valid link, None if there is none.
        problem: the error after it, None if the chain is intact.
        unlinked: number of records that are not linked yet.
        unlinked_since: time of the oldest of those.
    """

    head: Link | None
    problem: str | None
    unlinked: int
    unlinked_since: str | None


async def verify(database: Database, *, expected: Link | None = None) -> Findings:
    """Check all links, and count the records that are not linked yet.

    Args:
        database: the database.
        expected: a link that was stored elsewhere, which the chain must contain; without one, a truncated or rebuilt
            chain is not detected.

    Raises:
        DatabaseUnavailable: PostgreSQL is unavailable.
    """
    verifier = _Verifier(expected)
    problem = None
    try:
        await verifier.run(database)
    except Broken as error:
        problem = str(error)
    unlinked, since = await _count_unlinked(database)
    return Findings(
        head=verifier.head if verifier.head.seq else None, problem=problem, unlinked=unlinked, unlinked_since=since
    )


async def verify_records(session: AsyncSession, ids: Sequence[UUID]) -> dict[UUID, bool]:
    """Return for each record whether its link is intact: its hash covers the record and the hash of the link before.

    Records without a link yet are missing in the result. Unlike `verify`, this does not read the rest of the chain.
    """
    rows = (await session.execute(_LINKS_OF, {"ids": list(ids)})).mappings()
    return {row["audit_id"]: _is_intact(dict(row)) for row in rows}


def _is_intact(link: dict[str, Any]) -> bool:
    seq, stored, previous = link.pop("seq"), link.pop("hash"), link.pop("previous")
    del link["audit_id"]
    return bool(hash_of(BEGINNING if seq == 1 else previous or "", link) == stored)


class _Verifier:
    """Checks link after link."""

    def __init__(self, expected: Link | None) -> None:
        self.head = Link(0, BEGINNING)
        self._expected = expected

    async def run(self, database: Database) -> None:
        """Check all links.

        Raises:
            Broken: a link is invalid.
        """
        async with database.transaction() as session:
            below = await session.scalar(_BELOW_FIRST)
        if below is not None:
            raise Broken(f"There is a link {below}, but the first link is 1.")
        while True:
            async with database.transaction() as session:
                links = await _next_links(session, self.head.seq)
            for link in links:
                self._check_link(dict(link))
            if len(links) < _PAGE:
                break
        if self._expected and self.head.seq < self._expected.seq:
            raise Broken(f"The chain ends with link {self.head.seq}, but link {self._expected.seq} is expected.")

    def _check_link(self, link: dict[str, Any]) -> None:
        seq, stored, audit_id = link.pop("seq"), link.pop("hash"), link.pop("audit_id")
        if seq != self.head.seq + 1:
            raise Broken(f"Link {self.head.seq + 1} is missing: the next one is {seq}.")
        if link["id"] is None:
            raise Broken(f"Record {audit_id} of link {seq} is missing.")
        if hash_of(self.head.hash, link) != stored:
            raise Broken(f"Record {audit_id} or its link {seq} was changed.")
        if self._expected and seq == self._expected.seq and stored != self._expected.hash:
            raise Broken(f"Link {seq} has another hash than expected: the chain before it was rebuilt.")
        self.head = Link(seq, stored)


async def _next_links(session: AsyncSession, seq: int) -> list[Any]:
    return list((await session.execute(_NEXT_LINKS, {"after": seq, "step": _PAGE})).mappings())


async def _count_unlinked(database: Database) -> tuple[int, str | None]:
    unlinked, since, after = 0, None, MIN_ID
    while after != MAX_ID:
        async with database.transaction() as session:
            seen = await next_slice(session, after)
        unlinked, after = unlinked + seen.unlinked, seen.until
        since = min((each for each in (since, seen.since) if each), default=None)
    return unlinked, since
