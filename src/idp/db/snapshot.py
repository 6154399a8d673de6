"""What a statement could see: PostgreSQL's snapshots, compared (rule 5 of the house).

Two questions decide whether something read earlier may still be believed: does its snapshot *see* a transaction that
changed it, and does it *include* another snapshot, so that it misses nothing the other one saw.
"""

import functools

from msgspec import Struct

# One history of one database: its system identifier, its timeline, and when it last recovered from a crash (PostgreSQL
# forgets its statistics then, and only then by itself). Transaction numbers of two histories must never be compared:
# a number that was given out but not yet written when the server crashed is given out again.
INSTANCE = (
    "((SELECT system_identifier FROM pg_control_system())::text || ':'"
    " || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) || ':'"
    " || coalesce(extract(epoch FROM pg_stat_get_bgwriter_stat_reset_time())::text, ''))"
)
# What a statement adds to its columns.
STAMP = f"pg_current_snapshot()::text AS snapshot, {INSTANCE} AS instance"


class Snapshot(Struct, frozen=True):
    """Which transactions a statement saw.

    Attributes:
        oldest: every transaction below it had ended (`xmin`).
        next: no transaction from it on had begun, or none of them had ended (`xmax`).
        running: those between that were still under way.
    """

    oldest: int
    next: int
    running: frozenset[int] = frozenset()

    @classmethod
    def parse(cls, text: str) -> "Snapshot":
        """Read PostgreSQL's text form, such as `739:745:739,742`."""
        oldest, following, running = text.split(":")
        return cls(int(oldest), int(following), frozenset(int(xid) for xid in running.split(",") if xid))

    def sees(self, transaction: int) -> bool:
        """Whether what this transaction did was visible, if it was committed."""
        return transaction < self.oldest or (transaction < self.next and transaction not in self.running)

    def includes(self, other: "Snapshot") -> bool:
        """Whether everything that the other snapshot saw was visible here too."""
        return self.next >= other.next and all(
            transaction in other.running for transaction in self.running if transaction < other.next
        )

    def __str__(self) -> str:
        return f"{self.oldest}:{self.next}:{','.join(map(str, sorted(self.running)))}"


class Stamp(Struct, frozen=True):
    """When something was read: which database, and what the statement could see."""

    instance: str
    snapshot: Snapshot

    @staticmethod
    @functools.lru_cache(maxsize=1024)
    def parse(instance: str, snapshot: str) -> "Stamp":
        """Read the two columns of `STAMP`, which all rows of a statement have in common."""
        return Stamp(instance, Snapshot.parse(snapshot))
