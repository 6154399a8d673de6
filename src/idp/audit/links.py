"""Links of the hash chain: the hash function, and the SQL that reads and writes links.

All functions use the caller's transaction.
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

BATCH = 500  # maximum of records linked in a transaction
SLICE = 5_000  # records searched in a transaction
BEGINNING = "0" * 64  # the previous hash of the first link
MIN_ID, MAX_ID = UUID(int=0), UUID(int=2**128 - 1)  # below and above every record's id

# As text, formatted by PostgreSQL, so that rows with manipulated values can be read and hashed, too.
_RFC_3339 = r"""to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24\:MI\:SS.US"Z"')"""
RECORD = f"""
       a.id::text AS id, {_RFC_3339.format("a.timestamp")} AS timestamp,
       a.action, a.actor, a.user_id, a.target, a.details::text AS details, a.ip_address, a.user_agent, a.request_id"""
_IS_UNLINKED = "NOT EXISTS (SELECT FROM idp.audit_chain c WHERE c.audit_id = a.id)"
_HEAD = text("SELECT seq, hash, chained_at FROM idp.audit_chain ORDER BY seq DESC LIMIT 1")
_OLDEST_UNLINKED = text(f"""
SELECT a.timestamp AS at, {RECORD} FROM idp.audit_logs a
 WHERE a.timestamp >= coalesce(CAST(:since AS timestamptz), '-infinity')
   AND a.id > :after AND a.id <= :until AND {_IS_UNLINKED}
 ORDER BY a.timestamp, a.id LIMIT :batch
""")  # noqa: S608  constants
_LINK = text("""
INSERT INTO idp.audit_chain (seq, audit_id, hash, chained_at)
SELECT n.seq, n.audit_id, n.hash, now()
  FROM unnest(CAST(:seqs AS bigint[]), CAST(:ids AS uuid[]), CAST(:hashes AS text[])) AS n(seq, audit_id, hash)
""")
_END_OF_SLICE = text("SELECT id FROM idp.audit_logs WHERE id > :after ORDER BY id OFFSET :rest LIMIT 1")
_COUNT_UNLINKED = text(f"""
SELECT count(*) AS records, {_RFC_3339.format("min(a.timestamp)")} AS since FROM idp.audit_logs a
 WHERE a.id > :after AND a.id <= :until AND {_IS_UNLINKED}
""")  # noqa: S608  constants


class Link(Struct, frozen=True):
    """A link: it identifies the chain up to it.

    Attributes:
        seq: its position, from 1 without gaps.
        hash: over its record and the previous hash.
    """

    seq: int
    hash: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"


class Head(Struct, frozen=True):
    """The last link, and when it was created, by the database's clock."""

    link: Link
    chained_at: datetime


class Linked(Struct, frozen=True):
    """The result of a transaction: the last link, the number of links, and the last record's time."""

    link: Link
    number: int
    until: datetime


class Slice(Struct, frozen=True):
    """A range of records by id, and how many of them are unlinked.

    Attributes:
        after: the range begins after this id.
        until: the last id of the range, `MAX_ID` if there are no more records.
        unlinked: number of records without a link.
        since: time of the oldest of those (RFC 3339).
    """

    after: UUID
    until: UUID
    unlinked: int
    since: str | None


def hash_of(previous: str, record: Mapping[str, Any]) -> str:
    """Return the hash of a link: hexadecimal SHA-256 over the previous hash, a line break, and the record as JSON.

    Args:
        previous: the hash of the previous link, `BEGINNING` for the first.
        record: the columns of `RECORD`; encoded with sorted names, without spaces, and without nulls, so that columns
            added later do not change earlier hashes.
    """
    given = {name: value for name, value in record.items() if value is not None}
    return hashlib.sha256(f"{previous}\n".encode() + msgspec.json.encode(given, order="sorted")).hexdigest()


async def find_head(session: AsyncSession) -> Head | None:
    """Return the last link."""
    row = (await session.execute(_HEAD)).first()
    return Head(Link(row.seq, row.hash), row.chained_at) if row else None


async def link_unlinked(
    session: AsyncSession,
    head: Link | None,
    *,
    since: datetime | None = None,
    after: UUID = MIN_ID,
    until: UUID = MAX_ID,
) -> Linked | None:
    """Link up to `BATCH` unlinked records, oldest first; None if there are none.

    Args:
        session: a transaction that holds the lease of the chain since before it read the head: two transactions
            with the same head would both link to it.
        head: the last link.
        since: only records of this time or later.
        after: only records with a greater id.
        until: only records with this id or a smaller one.
    """
    last, at, links = head or Link(0, BEGINNING), None, []
    parameters = {"since": since, "after": after, "until": until, "batch": BATCH}
    for row in (await session.execute(_OLDEST_UNLINKED, parameters)).mappings():
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
    """Count the unlinked records among the next `SLICE` records after an id."""
    until = await session.scalar(_END_OF_SLICE, {"after": after, "rest": SLICE - 1}) or MAX_ID
    counted = (await session.execute(_COUNT_UNLINKED, {"after": after, "until": until})).one()
    return Slice(after, until, counted.records, counted.since)
