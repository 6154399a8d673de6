"""Rule 5, decision 0052: processes that poll use no cached verdict longer than processes that listen.

The poller is the real one; its statements run against the modelled database, and take their time.
"""

from collections.abc import Coroutine, Generator, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import initialize, rule

from db.verdict_machine import PROCESS, VerdictMachine
from db.verdict_world import KEYS, Process, World
from idp.db import polling
from idp.db.polling import ChangePoller
from idp.db.snapshot import Snapshot
from idp.errors import DatabaseUnavailable


class UnderWay:
    """A statement on its way to the database, or an answer on its way back."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class Statements:
    """The poller's statements, on the current primary."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def fetch(self, statement: str, *arguments: Any) -> None:
        await self.fetchrow(statement, *arguments)

    async def fetchrow(self, statement: str, *arguments: Any) -> Any:
        await UnderWay()
        row = self._run(statement, *arguments)
        await UnderWay()
        return row

    def _run(self, statement: str, *arguments: Any) -> dict[str, Any]:
        primary = self._world.primary
        snapshot = primary.snapshot()
        stamp = {"instance": primary.instance, "snapshot": str(snapshot)}
        if statement == polling._TURN_ON:
            if primary.logs_since is None:
                primary.logs_since, primary.latest_ended = primary.next_xid, max(primary.latest_ended, primary.next_xid)
                primary.next_xid += 1
            return {}
        if statement == polling._MARK:
            return {}  # in the model the switch takes no time
        if statement == polling._IS_COMPLETE:
            return {"is_complete": primary.logs_since is not None and primary.logs_since < snapshot.oldest}
        if statement == polling._FIRST:
            return stamp
        assert statement == polling._NEXT
        oldest, previous = arguments[0], Snapshot.parse(arguments[1])
        changes = [
            f"{xid} {thing}"
            for thing, xid in primary.log
            if snapshot.sees(xid) and xid >= oldest and not previous.sees(xid)
        ]
        return {**stamp, "changes": changes, "is_on": primary.logs_since is not None}


class Polls:
    """A database that only the poller uses."""

    def __init__(self, world: World) -> None:
        self.reads = Statements(world)


class PollingProcess(Process):
    """A process of idp, which polls."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.poll: Coroutine[Any, Any, Any] | None = None

    def listener(self) -> Any:
        return ChangePoller(Polls(self.world), seconds=0.25, floor_seconds=3.0)  # type: ignore[arg-type]

    def deafen(self) -> None:
        """It does not notice a failover; its statement under way fails."""
        if self.poll is not None:
            with pytest.raises(StopIteration):
                self.poll.throw(DatabaseUnavailable())
            self.poll = None

    def step(self) -> bool:
        """Advance the poll; return whether it has ended."""
        self.poll = self.poll or self.change_listener._try()
        try:
            self.poll.send(None)
        except StopIteration:
            self.poll = None
        return self.poll is None


class PolledVerdicts(VerdictMachine):
    """The world, with processes that poll."""

    process = PollingProcess

    def __init__(self) -> None:
        super().__init__()
        self._patch.setattr(polling, "boottime", lambda: self.world.now)

    def awake_poller(self, number: int) -> PollingProcess | None:
        process = self.awake(number)
        assert process is None or isinstance(process, PollingProcess)
        return process

    @initialize()
    def everyone_polls(self) -> None:
        for number in (0, 1):
            self.beat(number)
            self.beat(number)
            for key in KEYS:
                self.read(number, key)
                self.finish_read(number, 0)

    @rule(number=PROCESS)
    def poll_goes_on(self, number: int) -> None:
        """A statement reaches the database, or its answer the process."""
        if process := self.awake_poller(number):
            process.step()

    @rule(number=PROCESS)
    def beat(self, number: int) -> None:
        """The usual quarter of a second: a poll, from the beginning to the end."""
        if process := self.awake_poller(number):
            while not process.step():
                pass

    @rule(number=PROCESS)
    def slow_answer(self, number: int) -> None:
        """The statement has run, and its answer comes late."""
        if process := self.awake_poller(number):
            process.step()
            process.step()
            self.world.now += 0.6

    @rule(number=PROCESS)
    def poll_fails(self, number: int) -> None:
        if process := self.awake_poller(number):
            process.deafen()


PolledVerdicts.TestCase.settings = settings(
    max_examples=600,
    stateful_step_count=50,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
TestPolledVerdicts = PolledVerdicts.TestCase


def usable(machine: PolledVerdicts) -> bool:
    """Whether the first process has a cached verdict that it may use."""
    return machine.world.processes[0].use("credential:a", shared=False) is not None


@pytest.fixture
def story() -> Iterator[PolledVerdicts]:
    """A world in which both processes poll and have looked everything up."""
    machine = PolledVerdicts()
    machine.everyone_polls()
    yield machine
    machine.no_cached_verdict_misses_what_it_must_know()
    machine.teardown()


def test_verdicts_stay_cached_without_a_change_and_end_with_one(story: PolledVerdicts) -> None:
    story.change("credential:b")
    for _ in range(20):
        story.world.now += 0.25
        story.beat(0)
        assert usable(story)
    story.change("credential:a")
    story.world.now += 0.25
    story.beat(0)
    assert not usable(story)


def test_without_polls_the_lease_ends(story: PolledVerdicts) -> None:
    story.world.now += 0.7
    assert usable(story)
    story.world.now += 0.1
    assert not usable(story)


def test_an_answer_that_took_long_extends_the_lease_from_its_sending(story: PolledVerdicts) -> None:
    story.poll_goes_on(0)
    story.poll_goes_on(0)
    story.change("credential:a")
    story.world.now += 0.8
    story.poll_goes_on(0)
    assert not usable(story)


def test_a_transaction_that_ends_late_is_read_then(story: PolledVerdicts) -> None:
    """Its number is lower than those that the polls before have seen."""
    story.begin(frozenset({"credential:a"}))
    story.change("credential:b")
    story.beat(0)
    story.change("credential:b")
    story.beat(0)
    story.look_up(0, "credential:a", stored=False)
    assert usable(story)
    story.end(0, committed=True)
    story.beat(0)
    assert not usable(story)


def test_another_history_shares_nothing_with_the_one_before(story: PolledVerdicts) -> None:
    """The standby lacks the last changes and gives their numbers out again: old snapshots seem to have seen them."""
    for _ in range(4):
        story.change("credential:b")
    story.look_up(0, "credential:a", stored=False)
    story.fail_over(4, (False, False))
    story.change("credential:a")
    story.beat(0)
    assert not usable(story)


def test_after_a_long_gap_nothing_read_before_is_used(story: PolledVerdicts) -> None:
    """The changes of the gap may have been deleted."""
    story.change("credential:a")
    story.world.now += polling.KEEP_SECONDS
    story.world.primary.log.clear()
    story.beat(0)
    assert not usable(story)


def test_after_a_pause_on_the_way_to_the_database_nothing_read_before_is_used(story: PolledVerdicts) -> None:
    """The process was paused after it had compared the time, and asked when the changes had been deleted."""
    story.poll_goes_on(0)
    story.change("credential:a")
    story.world.now += polling.KEEP_SECONDS
    story.world.primary.log.clear()
    story.poll_goes_on(0)
    story.beat(0)
    story.beat(0)
    assert not usable(story)


def test_a_transaction_from_before_the_change_log_was_on_delays_the_first_floor() -> None:
    """Its change is in no log, so nothing is cached until it has ended."""
    machine = PolledVerdicts()
    machine.begin(frozenset({"credential:a"}))
    machine.everyone_polls()
    assert not usable(machine)
    machine.end(0, committed=True)
    machine.beat(0)
    machine.look_up(0, "credential:a", stored=False)
    assert usable(machine)
    machine.teardown()
