"""PostgreSQL snapshots and their comparison (rule 5).

Two questions decide whether an earlier read is still valid: does its snapshot *see* a transaction that changed the row,
and does it *include* another snapshot, that is, see everything that the other one saw.
"""

import functools

from msgspec import Struct

# One database instance: system identifier, timeline, and last crash recovery (PostgreSQL resets its statistics then).
# Transaction ids of different instances must never be compared: an id that was assigned but not written before a crash
# is assigned again.
INSTANCE = (
    "((SELECT system_identifier FROM pg_control_system())::text || ':'"
    " || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) || ':'"
    " || coalesce(extract(epoch FROM pg_stat_get_bgwriter_stat_reset_time())::text, ''))"
)
# Additional columns of a statement.
STAMP = f"pg_current_snapshot()::text AS snapshot, {INSTANCE} AS instance"


class Snapshot(Struct, frozen=True):
    """The transactions that a statement sees.

    Attributes:
        oldest: all transactions below it had ended (`xmin`).
        next: no transaction from this id on had ended (`xmax`).
        running: transactions in between that were still running.
    """

    oldest: int
    next: int
    running: frozenset[int] = frozenset()

    @classmethod
    def parse(cls, text: str) -> "Snapshot":
        """Parse PostgreSQL's text format, such as `739:745:739,742`."""
        oldest, following, running = text.split(":")
        return cls(int(oldest), int(following), frozenset(int(xid) for xid in running.split(",") if xid))

    def sees(self, transaction: int) -> bool:
        """Whether this transaction was visible, if it committed."""
        return transaction < self.oldest or (transaction < self.next and transaction not in self.running)

    def includes(self, other: "Snapshot") -> bool:
        """Whether everything visible in the other snapshot was visible in this one."""
        return self.next >= other.next and all(
            transaction in other.running for transaction in self.running if transaction < other.next
        )

    def __str__(self) -> str:
        return f"{self.oldest}:{self.next}:{','.join(map(str, sorted(self.running)))}"


class Stamp(Struct, frozen=True):
    """The database instance and snapshot of a read."""

    instance: str
    snapshot: Snapshot

    @staticmethod
    @functools.lru_cache(maxsize=1024)
    def parse(instance: str, snapshot: str) -> "Stamp":
        """Parse the two columns of `STAMP`, which are the same for all rows of a statement."""
        return Stamp(instance, Snapshot.parse(snapshot))
