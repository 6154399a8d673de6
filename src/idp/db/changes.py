"""What this process has heard, and whether something read earlier may still be believed (rule 5).

Pure bookkeeping without a clock or a socket, so that a model can drive it through every order of events
(`tests/db/test_verdict_model.py`); `db/notify.py` connects it to PostgreSQL. The argument is decision 0011.
"""

from collections.abc import Iterable

from idp.db.snapshot import Snapshot, Stamp

SIGNING = "signing"  # our signing keys changed: what was verified with them is verified again
EVERYONE = "directory"  # teams, domains and what roles mean count for every verdict
# By what was changed: transactions that a statement must have seen, or snapshots that it must include; each with the
# version it was heard in.
KnownChanges = dict[str, list[tuple[int, int | Snapshot]]]

_MOST_OF_ONE = 64  # changes of one thing, all of which each check looks at
_MOST_HEARD = 20_000  # changes kept before the older half is exchanged for a newer floor


class Changes:
    """The changes heard so far.

    Attributes:
        version: rises whenever an earlier "may be believed" could have become wrong, so that whoever remembers the
            version of the last check knows with one comparison that nothing happened since.
        signing: rises whenever our signing keys may have changed. What was verified under another number is not
            believed, and the key ring reads its keys anew.
    """

    def __init__(self) -> None:
        self.version = 0
        self.signing = 0
        self._crowded = False
        self._instance: str | None = None
        self._floor: Snapshot | None = None  # below it nothing is believed
        self._next_floor: Snapshot | None = None  # saw everything in `_oldest`
        self._recent: KnownChanges = {}
        self._earlier: KnownChanges = {}
        self._oldest: KnownChanges = {}
        self._turning = False
        self._count = 0
        self._unproven: list[tuple[int, str, int]] = []  # heard, and not yet known to be in the database's past

    @property
    def has_floor(self) -> bool:
        """Whether there is a floor: without one nothing is believed."""
        return self._floor is not None

    @property
    def full(self) -> bool:
        """Whether so much was heard that a newer floor should replace the older half."""
        return self._count >= _MOST_HEARD or self._crowded

    def is_of(self, instance: str) -> bool:
        """Whether this database, in this history, is the one that is listened to."""
        return instance == self._instance

    def reset(self) -> None:
        """Begin anew: LISTEN has just been said, and the floor is about to be read. Until then nothing is believed."""
        self.version += 1
        self.signing += 1
        self._crowded = False
        self._instance = self._floor = self._next_floor = None
        self._recent, self._earlier, self._oldest = {}, {}, {}
        self._turning, self._count = False, 0
        self._unproven = []

    def set_first_floor(self, floor: Stamp) -> None:
        """Take the first floor: the stamp of a statement that began after `listen`."""
        self.version += 1
        self._instance, self._floor, self._next_floor = floor.instance, floor.snapshot, floor.snapshot

    def record_change(self, what: str, transaction: int) -> None:
        """Remember that a committed transaction changed `user:…`, `credential:…`, `session:…` or `directory`."""
        self.version += 1
        if what == SIGNING:
            self.signing += 1
            return
        known = self._recent.setdefault(what, [])
        known.append((self.version, transaction))
        self._unproven.append((self.version, what, transaction))
        self._count += 1
        self._crowded = self._crowded or len(known) > _MOST_OF_ONE

    def discard_false_announcements(self, heard_before: int, following: int) -> None:
        """Forget announcements of transactions that there have not been: an announcement comes after its commit.

        Args:
            heard_before: the `version` when a statement was sent.
            following: the first transaction that had not begun when it ran (`pg_snapshot_xmax`).
        """
        known = [each for each in self._unproven if each[0] <= heard_before]
        self._unproven = [each for each in self._unproven if each[0] > heard_before]
        for version, what, transaction in known:
            if transaction >= following:
                self._forget(what, (version, transaction))

    def _forget(self, what: str, false: tuple[int, int]) -> None:
        for known in (self._recent, self._earlier, self._oldest):
            if false in known.get(what, ()):
                known[what].remove(false)

    def check_instance(self, stamp: Stamp) -> None:
        """Look at the stamp of a fresh read: of another database than is listened to, nothing heard says anything.

        That is a failover that the listener has not noticed yet. Nothing is believed until it listens to the new one.
        """
        if self._floor is not None and stamp.instance != self._instance:
            self.reset()

    def record_refusal(self, about: Iterable[str], stamp: Stamp) -> None:
        """Remember a refusal that was read before its change was heard: nothing older is believed about it any more.

        Without this a process could refuse what was revoked, lose that verdict, and accept an older one from Valkey in
        the moment before the notification comes.

        Args:
            about: what the refusal depends on.
            stamp: of the statement that read it.
        """
        self.version += 1
        for what in about:
            needed = self._recent.setdefault(what, [])
            last = needed[-1][1] if needed else None
            if isinstance(last, Snapshot) and stamp.snapshot.includes(last):
                needed[-1] = (self.version, stamp.snapshot)  # a flood of one revoked key leaves one entry
            else:
                needed.append((self.version, stamp.snapshot))
                self._count += 1

    def begin_next_floor(self) -> None:
        """Before a newer floor is read: what was heard so far grows old, what is heard from now on is recent."""
        if not self._turning:
            self._turning, self._count, self._crowded = True, 0, False
            self._oldest, self._earlier, self._recent = self._earlier, self._recent, {}

    def raise_floor(self, newer: Stamp) -> None:
        """After a newer floor was read: stand on the one before it, and forget the changes which that one saw.

        Args:
            newer: the stamp of a statement that began after `turn_over`.
        """
        if newer.instance != self._instance:
            self.reset()
            return
        self.version += 1
        self._floor, self._next_floor = self._next_floor, newer.snapshot
        self._oldest, self._turning = {}, False

    def still_holds(self, stamp: Stamp, about: Iterable[str], began: int = -1) -> bool:
        """Whether what was read with this stamp still holds, as far as this process knows.

        Args:
            stamp: of the statement that read it; of several, the oldest.
            about: what it depends on, such as `("credential:…", "user:…")`; `directory` always counts.
            began: the `version` when that statement was sent; -1 where another process sent it.
        """
        if self._floor is None or stamp.instance != self._instance or not stamp.snapshot.includes(self._floor):
            return False
        return not self.contradicts(stamp, about, began)

    def contradicts(self, stamp: Stamp, about: Iterable[str], began: int = -1) -> bool:
        """Whether a change was heard that the statement with this stamp did not see.

        Args:
            stamp: of a statement to the database that is listened to.
            about: as for `believes`.
            began: as for `believes`: what was heard before a statement began, it saw, whatever number was announced.
        """
        return not all(
            version <= began or _saw(stamp.snapshot, needed)
            for known in (self._recent, self._earlier, self._oldest)
            if known
            for what in (EVERYONE, *about)
            for version, needed in known.get(what, ())
        )


def _saw(snapshot: Snapshot, needed: int | Snapshot) -> bool:
    return snapshot.includes(needed) if isinstance(needed, Snapshot) else snapshot.sees(needed)
