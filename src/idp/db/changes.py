"""Received change notifications, and whether an earlier read is still valid (rule 5).

Pure state without a clock or a socket, so that a model can test every order of events
(`tests/db/test_verdict_model.py`); `db/notify.py` connects it to PostgreSQL. Decision 0011 explains it.
"""

from collections.abc import Iterable

from idp.db.snapshot import Snapshot, Stamp

SIGNING = "signing"  # our signing keys changed: verify signatures again
ALL_VERDICTS = "directory"  # teams, domains and roles affect every verdict
# By changed object: transactions that a statement must see, or snapshots that it must include, each with the version in
# which it was recorded.
KnownChanges = dict[str, list[tuple[int, int | Snapshot]]]

_MAX_PER_KEY = 64  # changes per object, all compared in each check
_MAX_CHANGES = 20_000  # changes before a newer floor replaces the older half


class Changes:
    """The change notifications received so far.

    Attributes:
        version: increases whenever an earlier check may have become wrong, so that a cache entry can compare it with
        the version of its last check.
        signing: increases whenever our signing keys may have changed. Signatures verified under another number are
        verified again, and the key ring reloads its keys.
    """

    def __init__(self) -> None:
        self.version = 0
        self.signing = 0
        self._has_crowded_key = False
        self._instance: str | None = None
        self._floor: Snapshot | None = None  # older snapshots are not valid
        self._next_floor: Snapshot | None = None  # includes everything in `_oldest`
        self._recent: KnownChanges = {}
        self._earlier: KnownChanges = {}
        self._oldest: KnownChanges = {}
        self._floor_pending = False
        self._count = 0
        self._unconfirmed: list[tuple[int, str, int]] = []  # received, not yet confirmed by a heartbeat

    @property
    def has_floor(self) -> bool:
        """Whether there is a floor; without one no earlier read is valid."""
        return self._floor is not None

    @property
    def full(self) -> bool:
        """Whether a newer floor should replace the older half of the changes."""
        return self._count >= _MAX_CHANGES or self._has_crowded_key

    def is_of(self, instance: str) -> bool:
        """Whether this is the database instance that is listened to."""
        return instance == self._instance

    def reset(self) -> None:
        """Reset after LISTEN, before the floor is read. Until then no earlier read is valid."""
        self.version += 1
        self.signing += 1
        self._has_crowded_key = False
        self._instance = self._floor = self._next_floor = None
        self._recent, self._earlier, self._oldest = {}, {}, {}
        self._floor_pending, self._count = False, 0
        self._unconfirmed = []

    def set_first_floor(self, floor: Stamp) -> None:
        """Set the first floor: the stamp of a statement that began after LISTEN."""
        self.version += 1
        self._instance, self._floor, self._next_floor = floor.instance, floor.snapshot, floor.snapshot

    def forget_signatures(self) -> None:
        """Invalidate every verdict about a signed token: a key may have been withdrawn."""
        self.version += 1
        self.signing += 1

    def record_change(self, name: str, transaction: int) -> None:
        """Record that a committed transaction changed `user:…`, `credential:…`, `session:…` or `directory`."""
        self.version += 1
        if name == SIGNING:
            self.signing += 1
            return
        known = self._recent.setdefault(name, [])
        known.append((self.version, transaction))
        self._unconfirmed.append((self.version, name, transaction))
        self._count += 1
        self._has_crowded_key = self._has_crowded_key or len(known) > _MAX_PER_KEY

    def discard_forged_notifications(self, version_before: int, following: int) -> None:
        """Drop notifications of transactions that do not exist: a genuine one arrives after its commit.

        Args:
            version_before: the `version` when a statement was sent.
            following: the first transaction id not yet assigned when it ran (`pg_snapshot_xmax`).
        """
        known = [each for each in self._unconfirmed if each[0] <= version_before]
        self._unconfirmed = [each for each in self._unconfirmed if each[0] > version_before]
        for version, name, transaction in known:
            if transaction >= following:
                self._forget(name, (version, transaction))

    def _forget(self, name: str, forged: tuple[int, int]) -> None:
        for known in (self._recent, self._earlier, self._oldest):
            if forged in known.get(name, ()):
                known[name].remove(forged)

    def check_instance(self, stamp: Stamp) -> None:
        """Reset if a fresh read came from another database instance than is listened to.

        This is a failover that the listener has not noticed yet. No earlier read is valid until it listens to the new
        one.
        """
        if self._floor is not None and stamp.instance != self._instance:
            self.reset()

    def record_rejection(self, depends_on: Iterable[str], stamp: Stamp) -> None:
        """Record a rejection that was read before its change was notified; older reads are then invalid.

        Without this a process could reject a revoked credential, drop that verdict, and accept an older one from Valkey
        before the notification arrives.

        Args:
            depends_on: the dependencies of the rejection.
            stamp: of the statement that read it.
        """
        self.version += 1
        for name in depends_on:
            needed = self._recent.setdefault(name, [])
            last = needed[-1][1] if needed else None
            if isinstance(last, Snapshot) and stamp.snapshot.includes(last):
                needed[-1] = (self.version, stamp.snapshot)  # many requests with one revoked key add one entry
            else:
                needed.append((self.version, stamp.snapshot))
                self._count += 1

    def begin_next_floor(self) -> None:
        """Before a newer floor is read: separate the changes so far from later ones."""
        if not self._floor_pending:
            self._floor_pending, self._count, self._has_crowded_key = True, 0, False
            self._oldest, self._earlier, self._recent = self._earlier, self._recent, {}

    def raise_floor(self, newer: Stamp) -> None:
        """After a newer floor was read: use the previous one, and drop the changes that it includes.

        Args:
            newer: the stamp of a statement that began after `begin_next_floor`.
        """
        if newer.instance != self._instance:
            self.reset()
            return
        self.version += 1
        self._floor, self._next_floor = self._next_floor, newer.snapshot
        self._oldest, self._floor_pending = {}, False

    def still_holds(self, stamp: Stamp, depends_on: Iterable[str], read_version: int = -1) -> bool:
        """Whether a read with this stamp is still valid, as far as this process knows.

        Args:
            stamp: of the statement; the oldest of several.
            depends_on: its dependencies, such as `("credential:…", "user:…")`; `directory` is always included.
            read_version: the `version` when that statement was sent; -1 if another process sent it.
        """
        if self._floor is None or stamp.instance != self._instance or not stamp.snapshot.includes(self._floor):
            return False
        return not self.contradicts(stamp, depends_on, read_version)

    def contradicts(self, stamp: Stamp, depends_on: Iterable[str], read_version: int = -1) -> bool:
        """Whether a change was received that the statement with this stamp does not include.

        Args:
            stamp: of a statement on the database that is listened to.
            depends_on: as for `still_holds`.
            read_version: as for `still_holds`; the statement includes every change received before it was sent,
            regardless of the notified id.
        """
        return not all(
            version <= read_version or _includes(stamp.snapshot, needed)
            for known in (self._recent, self._earlier, self._oldest)
            if known
            for name in (ALL_VERDICTS, *depends_on)
            for version, needed in known.get(name, ())
        )


def _includes(snapshot: Snapshot, needed: int | Snapshot) -> bool:
    return snapshot.includes(needed) if isinstance(needed, Snapshot) else snapshot.sees(needed)
