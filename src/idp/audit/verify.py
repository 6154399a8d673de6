"""Verify the hash chain of audit records with bounded memory, and report the first broken link."""

from typing import Any

from msgspec import Struct
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from idp.audit.links import BEGINNING, EVERYBODY, NOBODY, RECORD, Link, hash_of, next_slice
from idp.db.engine import Database

_STEP = 2_000
_NEXT_LINKS = text(f"""
SELECT c.seq, c.hash, c.audit_id, {RECORD}
  FROM (SELECT * FROM idp.audit_chain WHERE seq > :after ORDER BY seq LIMIT :step) c
  LEFT JOIN idp.audit_logs a ON a.id = c.audit_id
 ORDER BY c.seq
""")  # noqa: S608  constants
_BELOW = text("SELECT min(seq) FROM idp.audit_chain WHERE seq < 1")


class Broken(Exception):
    """The chain is broken; the message says where."""


class Findings(Struct, frozen=True):
    """The result of a verification.

    Attributes:
        head: the last valid link, None if there is none.
        problem: the error of the next link, None if the chain is intact.
        loose: the number of unlinked records.
        loose_since: time of the first of those.
    """

    head: Link | None
    problem: str | None
    loose: int
    loose_since: str | None


async def verify(database: Database, *, noted: Link | None = None) -> Findings:
    """Verify every link, and count unlinked records.

    Args:
        database: stores them.
        noted: an earlier head, which must still be in the chain; detects truncation and rewriting.

    Raises:
        DatabaseUnavailable: PostgreSQL is away.
    """
    walk = _Walk(noted)
    problem = None
    try:
        await walk.go(database)
    except Broken as error:
        problem = str(error)
    loose, since = await _loose(database)
    return Findings(head=walk.head if walk.head.seq else None, problem=problem, loose=loose, loose_since=since)


class _Walk:
    """Verification state along the chain."""

    def __init__(self, noted: Link | None) -> None:
        self.head = Link(0, BEGINNING)
        self._noted = noted

    async def go(self, database: Database) -> None:
        """Verify to the end.

        Raises:
            Broken: a link is invalid.
        """
        async with database.transaction() as session:
            below = await session.scalar(_BELOW)
        if below is not None:
            raise Broken(f"There is a link {below}, but the first one must be 1.")
        while True:
            async with database.transaction() as session:
                links = await _links_after(session, self.head.seq)
            for link in links:
                self._step(dict(link))
            if len(links) < _STEP:
                break
        if self._noted and self.head.seq < self._noted.seq:
            raise Broken(f"The chain ends with link {self.head.seq}, but link {self._noted.seq} was noted.")

    def _step(self, link: dict[str, Any]) -> None:
        seq, stored, audit_id = link.pop("seq"), link.pop("hash"), link.pop("audit_id")
        if seq != self.head.seq + 1:
            raise Broken(f"Link {self.head.seq + 1} is missing: the next one is {seq}.")
        if link["id"] is None:
            raise Broken(f"Record {audit_id} of link {seq} is missing.")
        if hash_of(self.head.hash, link) != stored:
            raise Broken(f"Record {audit_id} was changed, or its link {seq} was.")
        if self._noted and seq == self._noted.seq and stored != self._noted.hash:
            raise Broken(f"Link {seq} differs from the noted one: the chain before it was rewritten.")
        self.head = Link(seq, stored)


async def _links_after(session: AsyncSession, seq: int) -> list[Any]:
    return list((await session.execute(_NEXT_LINKS, {"after": seq, "step": _STEP})).mappings())


async def _loose(database: Database) -> tuple[int, str | None]:
    loose, since, after = 0, None, NOBODY
    while after != EVERYBODY:
        async with database.transaction() as session:
            seen = await next_slice(session, after)
        loose, after = loose + seen.loose, seen.until
        since = min((each for each in (since, seen.since) if each), default=None)
    return loose, since
