"""A small world in which verdicts are cached: one PostgreSQL, one Valkey, and what each process of idp knows.

Only what decides is real: `Changes`, `Snapshot` and `Verdicts`. PostgreSQL, Valkey, time and the network are modelled,
so that hypothesis can put their events into any order. Snapshots follow PostgreSQL's procarray.c: `xmax` is one more
than the latest *ended* transaction, and only those below it are listed.
"""

from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from factories import principal, user
from idp.authn.verdicts import Verdict, Verdicts
from idp.cache import SharedCache
from idp.db.changes import ALL_VERDICTS, Changes
from idp.db.snapshot import Snapshot, Stamp
from idp.errors import TokenRevoked

KEYS = ("credential:a", "credential:b")
USER = "user:u"
THINGS = (*KEYS, USER, ALL_VERDICTS)
LEASE = 0.75
T = TypeVar("T")


@dataclass
class Transaction:
    """A transaction and its change; none for another database."""

    xid: int
    things: frozenset[str]
    logged: bool = False


@dataclass
class Commit:
    """A committed change, unlike any other that ever was."""

    xid: int
    things: frozenset[str]
    at: float


@dataclass
class Primary:
    """One history of the database."""

    instance: str
    commits: list[Commit] = field(default_factory=list)
    notifications: list[tuple[str, Any]] = field(default_factory=list)
    running: list[Transaction] = field(default_factory=list)
    next_xid: int = 100
    latest_ended: int = 99
    log: list[tuple[str, int]] = field(default_factory=list)
    logs_since: int | None = None  # the transaction that turned the change log on

    def begin(self, things: frozenset[str]) -> None:
        self.running.append(Transaction(self.next_xid, things, logged=self.logs_since is not None))
        self.next_xid += 1

    def end(self, transaction: Transaction, *, committed: bool, now: float) -> None:
        self.running.remove(transaction)
        self.latest_ended = max(self.latest_ended, transaction.xid)
        if committed and transaction.things:
            self.commits.append(Commit(transaction.xid, transaction.things, now))
            changes = [(thing, transaction.xid) for thing in sorted(transaction.things)]
            self.notifications += [("change", change) for change in changes]
            self.log += changes if transaction.logged else []

    def snapshot(self) -> Snapshot:
        after = self.latest_ended + 1
        running = frozenset(each.xid for each in self.running if each.xid < after)
        return Snapshot(min(running, default=after), after, running)

    def stamp(self) -> Stamp:
        return Stamp(self.instance, self.snapshot())

    def seen(self, snapshot: Snapshot, depends_on: tuple[str, ...]) -> list[Commit]:
        """Return the changes to these things that a statement with this snapshot sees."""
        return [each for each in self.commits if each.things & {*depends_on, ALL_VERDICTS} and snapshot.sees(each.xid)]

    def fail_over(self, instance: str, lost: int) -> "Primary":
        """Return the standby that takes over: the last changes never reached it, and it counts on from there."""
        kept = self.commits[: len(self.commits) - lost]
        latest = max((each.xid for each in kept), default=99)
        return Primary(instance, list(kept), [], [], latest + 1, latest)


class Valkey(SharedCache):
    """Valkey: a write is stored when the world says so, or never."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.under_way: list[tuple[bytes, bytes]] = []

    async def get(self, key: bytes) -> bytes | None:
        return self.values.get(key)

    def put(self, key: bytes, value: bytes, *, milliseconds: int) -> None:  # noqa: ARG002  nothing ends by itself here
        self.under_way.append((key, value))

    def store_all(self) -> None:
        self.values.update(self.under_way)
        self.under_way.clear()


class Listener:
    """What `ChangeListener` is to `Verdicts`: the changes heard, and the lease."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.changes = Changes()
        self.lease_until = 0.0

    @property
    def lease_is_valid(self) -> bool:
        return self._world.now < self.lease_until


@dataclass
class Read:
    """A statement of a process that has run, and whose answer is not used yet."""

    key: str
    stamp: Stamp
    seen: list[Commit]
    read_version: int  # what the process had heard by then


class Process:
    """A process of idp, which listens."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.change_listener: Any = self.listener()
        self.verdicts = Verdicts(self.change_listener, world.valkey, key=b"k" * 32, ttl=1800, entries=100)
        self.primary: Primary | None = None  # whom the listener's connection reaches
        self.position = 0
        self.sent: dict[int, float] = {}
        self.reads: list[Read] = []
        self.turning = False
        self.paused = False
        self.refused: dict[str, list[Commit]] = {}  # revocations that it has told somebody of

    def listener(self) -> Any:
        return Listener(self.world)

    def deafen(self) -> None:
        """The listener's connection is lost, and this process knows."""
        self.primary, self.change_listener.lease_until = None, 0.0
        self.sent.clear()
        self.turning = False

    def reset(self) -> None:
        self.deafen()
        self.primary = self.world.primary
        self.position = len(self.primary.notifications)
        self.change_listener.changes.reset()

    def hear_one(self) -> None:
        if self.primary is None or self.position >= len(self.primary.notifications):
            return
        kind, what = self.primary.notifications[self.position]
        self.position += 1
        if kind == "change":
            self.change_listener.changes.record_change(*what)
        elif what in self.sent:
            self.change_listener.lease_until = max(self.change_listener.lease_until, self.sent.pop(what) + LEASE)

    def read(self, key: str) -> None:
        primary = self.world.primary
        stamp = primary.stamp()
        self.reads.append(
            Read(key, stamp, primary.seen(stamp.snapshot, (key, USER)), self.change_listener.changes.version)
        )

    def finish(self, read: Read) -> None:
        """Use what was read, as `Introspector` does: unless a change was heard meanwhile that it did not see."""
        self.reads.remove(read)
        depends_on = (read.key, USER)
        if self.verdicts.outdated(read.stamp, depends_on, read.read_version):
            return
        label = self.world.label(read.seen)
        revoked = revocations(read.key, read.seen)
        verdict = Verdict(error=TokenRevoked(label)) if revoked else Verdict(principal(user(), name=label))
        self.verdicts.keep(
            self.verdicts.name(read.key), verdict, read.stamp, depends_on, read_version=read.read_version
        )
        if read.stamp.instance == self.world.primary.instance:
            self.refused[read.key] = [*self.refused.get(read.key, []), *revoked]

    def use(self, key: str, *, shared: bool) -> list[Commit] | None:
        """Return the changes that a cached verdict knows of, None where there is no verdict to be used."""
        name = self.verdicts.name(key)
        verdict = run(self.verdicts.shared(name)) if shared else self.verdicts.get_cached(name)
        if verdict is None:
            return None
        if verdict.error is not None:
            return self.world.labelled(verdict.error.detail)
        assert verdict.principal is not None
        return self.world.labelled(verdict.principal.credential.name)


def revocations(key: str, seen: list[Commit]) -> list[Commit]:
    """Return the changes that end this credential for good: every one of its own or of its user's does, here."""
    return [each for each in seen if each.things & {key, USER}]


class World:
    """Everything, and what time it is."""

    def __init__(self, process: "type[Process]") -> None:
        self.now = 1000.0
        self.primary = Primary("history-0")
        self.histories = 1
        self.valkey = Valkey()
        self._labels: list[list[Commit]] = []
        self.processes = [process(self), process(self)]

    def label(self, seen: list[Commit]) -> str:
        self._labels.append(seen)
        return str(len(self._labels) - 1)

    def labelled(self, label: str | None) -> list[Commit]:
        return self._labels[int(label or "")]


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run what never waits."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    raise AssertionError("it waited for something")
