"""Links of the chain over audit records: what a hash covers, and the statements that read and write them.

Every function works inside the caller's transaction.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

BATCH = 500  # records a transaction links at most
SLICE = 5_000  # records that are looked through at once
BEGINNING = "0" * 64  # what the first link's hash covers in place of the link before it
NOBODY, EVERYBODY = UUID(int=0), UUID(int=2**128 - 1)  # below and above every record's id
_LOCK = 0x1D9_A0D1

# As text, in PostgreSQL's own words, so that whatever a row was made to hold by hand can be read, compared and hashed.
_RFC_3339 = r"""to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24\:MI\:SS.US"Z"')"""
RECORD = f"""
       a.id::text AS id, {_RFC_3339.format("a.timestamp")} AS timestamp,
       a.action, a.actor, a.user_id, a.target, a.details::text AS details, a.ip_address, a.user_agent, a.request_id"""
_IS_LOOSE = "NOT EXISTS (SELECT FROM idp.audit_chain c WHERE c.audit_id = a.id)"
_TAKE_LOCK = text("SELECT pg_try_advisory_xact_lock(:key)").bindparams(key=_LOCK)
_HEAD = text("SELECT seq, hash, chained_at FROM idp.audit_chain ORDER BY seq DESC LIMIT 1")
_OLDEST_LOOSE = text(f"""
SELECT a.timestamp AS at, {RECORD} FROM idp.audit_logs a
 WHERE a.timestamp >= coalesce(CAST(:since AS timestamptz), '-infinity')
   AND a.id > :after AND a.id <= :until AND {_IS_LOOSE}
 ORDER BY a.timestamp, a.id LIMIT :batch
""")  # noqa: S608  constants
_LINK = text("""
INSERT INTO idp.audit_chain (seq, audit_id, hash, chained_at)
SELECT n.seq, n.audit_id, n.hash, now()
  FROM unnest(CAST(:seqs AS bigint[]), CAST(:ids AS uuid[]), CAST(:hashes AS text[])) AS n(seq, audit_id, hash)
""")
_END_OF_SLICE = text("SELECT id FROM idp.audit_logs WHERE id > :after ORDER BY id OFFSET :rest LIMIT 1")
_COUNT_LOOSE = text(f"""
SELECT count(*) AS records, {_RFC_3339.format("min(a.timestamp)")} AS since FROM idp.audit_logs a
 WHERE a.id > :after AND a.id <= :until AND {_IS_LOOSE}
""")  # noqa: S608  constants


class Link(Struct, frozen=True):
    """A link, by which the chain up to it is known.

    Attributes:
        seq: its place, from 1 on without a gap.
        hash: of its record and of the link before it.
    """

    seq: int
    hash: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"


class Head(Struct, frozen=True):
    """The last link, and when it was made by the database's clock."""

    link: Link
    chained_at: datetime


class Linked(Struct, frozen=True):
    """What a transaction linked: the last link, how many there were, and when the last record was written."""

    link: Link
    number: int
    until: datetime


class Slice(Struct, frozen=True):
    """Records that follow each other by id, and what of them no link names yet.

    Attributes:
        after: the id before the first of them.
        until: the last id, `EVERYBODY` where there are no more.
        loose: how many no link names.
        since: when the first of those was written (RFC 3339).
    """

    after: UUID
    until: UUID
    loose: int
    since: str | None


def hash_of(previous: str, record: Mapping[str, Any]) -> str:
    """Return the hash of a link: SHA-256 in hexadecimal, over the hash before, a line break, and the record as JSON.

    Args:
        previous: the hash of the link before, `BEGINNING` for the first.
        record: the columns of `RECORD`, written with sorted names and without spaces. Those that are null are left
            out, so that a column of a later version changes no earlier hash.
    """
    given = {name: value for name, value in record.items() if value is not None}
    return hashlib.sha256(f"{previous}\n".encode() + msgspec.json.encode(given, order="sorted")).hexdigest()


async def take_lock(session: AsyncSession) -> bool:
    """Become the one transaction that links, until it ends; False when another one is.

    Before the head is read: two that read the same head would both link to it.
    """
    return bool(await session.scalar(_TAKE_LOCK))


async def find_head(session: AsyncSession) -> Head | None:
    """Return the last link."""
    row = (await session.execute(_HEAD)).first()
    return Head(Link(row.seq, row.hash), row.chained_at) if row else None


async def link_loose(
    session: AsyncSession,
    head: Link | None,
    *,
    since: datetime | None = None,
    after: UUID = NOBODY,
    until: UUID = EVERYBODY,
) -> Linked | None:
    """Link up to `BATCH` records that no link names, the oldest first; None when there are none.

    Args:
        session: a transaction that has the lock.
        head: the last link.
        since: only records written at this time or later.
        after: only records with a greater id.
        until: only records with this id or a smaller one.
    """
    last, at, links = head or Link(0, BEGINNING), None, []
    wanted = {"since": since, "after": after, "until": until, "batch": BATCH}
    for row in (await session.execute(_OLDEST_LOOSE, wanted)).mappings():
        record = dict(row)
        at = record.pop("at")
        last = Link(last.seq + 1, hash_of(last.hash, record))
        links.append((last.seq, UUID(record["id"]), last.hash))
    if at is None:
        return None
    seqs, ids, hashes = zip(*links, strict=True)
    await session.execute(_LINK, {"seqs": seqs, "ids": ids, "hashes": hashes})
    return Linked(last, len(links), at)


async def next_slice(session: AsyncSession, after: UUID) -> Slice:
    """Look through the `SLICE` records that follow an id."""
    until = await session.scalar(_END_OF_SLICE, {"after": after, "rest": SLICE - 1}) or EVERYBODY
    found = (await session.execute(_COUNT_LOOSE, {"after": after, "until": until})).one()
    return Slice(after, until, found.records, found.since)
