"""Rule 5, decision 0011: whatever order things happen in, no cached verdict outlives a change by more than the lease.

Processes that listen: connections that are lost, noticed or not, reconnects and new floors, beside everything in
`verdict_machine.py`.
"""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from db.verdict_machine import PROCESS, VerdictMachine
from db.verdict_world import KEYS
from idp.authn import verdicts
from idp.db.snapshot import Snapshot


class CachedVerdicts(VerdictMachine):
    """The world, with processes that listen."""

    @initialize()
    def everyone_listens(self) -> None:
        for number in (0, 1):
            self.reset(number)
            self.take_floor(number)
            self.pulse(number)
            self.record_change(number, 5)
            for key in KEYS:
                self.read(number, key)
                self.finish_read(number, 0)

    # --- the ear -----------------------------------------------------------------------------------------------------

    @rule(number=PROCESS)
    def reset(self, number: int) -> None:
        if process := self.awake(number):
            process.reset()

    @rule(number=PROCESS)
    def take_floor(self, number: int) -> None:
        """The statement after LISTEN; its answer comes over the same connection."""
        process = self.awake(number)
        if process and process.primary is self.world.primary and process.change_listener.changes._floor is None:
            process.change_listener.changes.set_first_floor(self.world.primary.stamp())

    @rule(number=PROCESS)
    def begin_next_floor(self, number: int) -> None:
        process = self.awake(number)
        if process and process.primary is self.world.primary and process.change_listener.changes._floor is not None:
            process.change_listener.changes.begin_next_floor()
            process.turning = True

    @rule(number=PROCESS)
    def raise_floor(self, number: int) -> None:
        process = self.awake(number)
        if process and process.turning and process.primary is self.world.primary:
            process.change_listener.changes.raise_floor(self.world.primary.stamp())
            process.turning = False

    @rule(number=PROCESS)
    def renew_floor(self, number: int) -> None:
        self.begin_next_floor(number)
        self.raise_floor(number)

    @rule(number=PROCESS)
    def pulse(self, number: int) -> None:
        """Sent through the pool, which reaches the current primary; it returns only if this process listens to it."""
        process = self.awake(number)
        if process and process.primary is not None and process.change_listener.changes._floor is not None:
            nonce = len(self.world.primary.notifications) + 1000 * self.world.histories
            process.sent[nonce] = self.world.now
            self.world.primary.notifications.append(("pulse", nonce))

    @rule(number=PROCESS, most=st.integers(1, 5))
    def record_change(self, number: int, most: int) -> None:
        if process := self.awake(number):
            for _ in range(most):
                process.hear_one()

    @rule(number=PROCESS)
    def beat(self, number: int) -> None:
        """The usual quarter of a second: a pulse goes out, and everything up to it is heard."""
        process = self.awake(number)
        if process and process.primary is self.world.primary:
            self.pulse(number)
            while process.position < len(process.primary.notifications):
                process.hear_one()

    @rule(number=PROCESS)
    def recover(self, number: int) -> None:
        """The usual reconnect, without anything in between."""
        self.reset(number)
        self.take_floor(number)
        self.beat(number)

    @rule(number=PROCESS)
    def lose_connection(self, number: int) -> None:
        if process := self.awake(number):
            process.deafen()


CachedVerdicts.TestCase.settings = settings(
    max_examples=600,
    stateful_step_count=50,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
TestCachedVerdicts = CachedVerdicts.TestCase


# --- the same by hand: what each of the rules is for, one order of events at a time ----------------------------------


@pytest.fixture
def story(monkeypatch: pytest.MonkeyPatch) -> Iterator[CachedVerdicts]:
    """A world in which both processes listen and have looked everything up."""
    machine = CachedVerdicts()
    monkeypatch.setattr(verdicts, "boottime", lambda: machine.world.now)
    machine.everyone_listens()
    machine.world.valkey.store_all()
    yield machine
    machine.no_cached_verdict_misses_what_it_must_know()
    machine.teardown()


def wait(machine: CachedVerdicts, seconds: float = 1.0) -> None:
    """Let time pass for processes that hear."""
    for _ in range(round(seconds / 0.25)):
        machine.world.now += 0.25
        machine.beat(0)
        machine.beat(1)


def usable(machine: CachedVerdicts, key: str = "credential:a") -> bool:
    """Whether the first process has a cached verdict that it may use."""
    process = machine.world.processes[0]
    return process.use(key, shared=False) is not None or process.use(key, shared=True) is not None


def test_a_verdict_stays_cached_without_a_change_notice(story: CachedVerdicts) -> None:
    """The caches are good for something, and what happens to others does not empty them."""
    story.change("credential:b")
    wait(story, 5)
    assert usable(story)
    story.change("credential:a")
    wait(story)
    assert not usable(story)


def test_without_a_lease_nothing_is_used(story: CachedVerdicts) -> None:
    """A process that was stopped looks at its clock first, and a connection that is half open brings no pulse."""
    story.world.now += 0.7
    assert usable(story)
    story.world.now += 0.1
    assert not usable(story)
    wait(story)
    assert usable(story)


def test_a_long_transaction_next_door_hides_nothing(story: CachedVerdicts) -> None:
    """Its number is lower than those that ended before it; the snapshot knows that it was still running."""
    story.begin(frozenset({"credential:a"}))
    story.change("credential:b")
    story.look_up(0, "credential:a", stored=True)
    assert usable(story)
    story.end(0, committed=True)
    wait(story)
    assert not usable(story)


def test_a_change_from_before_listening_is_covered_by_the_floor(story: CachedVerdicts) -> None:
    """It is never heard; what Valkey kept from before it is too old for the floor."""
    story.lose_connection(0)
    story.change("credential:a")
    story.recover(0)
    wait(story)
    assert not usable(story)


def test_a_forgotten_change_is_covered_by_the_raised_floor(story: CachedVerdicts) -> None:
    """The list of changes is cut twice; the entry in Valkey from before them stays refused."""
    story.change("credential:a")
    wait(story)
    story.renew_floor(0)
    story.renew_floor(0)
    wait(story)
    assert not usable(story)


def test_a_late_fill_from_before_a_change_is_not_used(story: CachedVerdicts) -> None:
    """Read before, finished after; in this process and, through Valkey, in the other one."""
    story.read(1, "credential:a")
    story.change("credential:a")
    story.finish_read(1, 0)
    story.world.valkey.store_all()
    wait(story)
    assert not usable(story)


def test_a_verdict_refused_before_its_notice_stays_refused(story: CachedVerdicts) -> None:
    """The refusal leaves memory, because it was full, and Valkey has an older verdict: nothing has been heard yet."""
    process = story.world.processes[0]
    story.change("credential:a")
    story.look_up(0, "credential:a", stored=False)
    process.verdicts._drop(process.verdicts.name("credential:a"))
    assert not usable(story)


def test_another_history_shares_nothing_with_the_one_before(story: CachedVerdicts) -> None:
    """The standby lacks the last changes and gives their numbers out again: old snapshots seem to have seen them."""
    for _ in range(4):
        story.change("credential:b")
    story.look_up(0, "credential:a", stored=True)
    story.fail_over(4, (True, True))
    story.recover(0)
    story.recover(1)
    story.change("credential:a")
    wait(story)
    assert not usable(story)


# --- snapshots by themselves -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seen", "unseen"),
    [
        ("10:10:", {1, 9}, {10, 11}),
        ("10:15:10,12", {9, 11, 13, 14}, {10, 12, 15, 99}),
        ("739:745:739,742,744", {1, 738, 740, 743}, {739, 742, 744, 745}),
    ],
)
def test_a_snapshot_sees_what_postgresql_says_it_sees(text: str, seen: set[int], unseen: set[int]) -> None:
    """The documentation of pg_current_snapshot: xmin, xmax, and the transactions in progress between them."""
    snapshot = Snapshot.parse(text)
    assert all(snapshot.sees(transaction) for transaction in seen)
    assert not any(snapshot.sees(transaction) for transaction in unseen)
    assert str(snapshot) == text


@pytest.mark.parametrize(
    ("later", "earlier", "included"),
    [
        ("20:20:", "10:15:10,12", True),
        ("10:15:10,12", "10:15:10,12", True),
        ("10:15:10,12,13", "10:15:10,12", False),  # 13 had ended for the other one
        ("10:15:10", "10:15:10,12", True),
        ("10:14:10", "10:15:10", False),  # 14 had ended for the other one
        ("10:16:10,15", "10:15:10", True),  # 15 had not begun for the other one
    ],
)
def test_a_snapshot_includes_another_if_it_misses_nothing_that_the_other_saw(
    later: str, earlier: str, *, included: bool
) -> None:
    """What `floor` needs."""
    one, other = Snapshot.parse(later), Snapshot.parse(earlier)
    assert one.includes(other) is included
    missed = [xid for xid in range(1, 30) if other.sees(xid) and not one.sees(xid)]
    assert bool(missed) is not included
