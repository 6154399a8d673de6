"""Verdicts that are cached by two processes, and what may happen meanwhile, in any order (rule 5, decision 0011).

Readers, writers, long transactions next door, late fills, lost cache writes, pauses, crashes, and failover to an older
state. How processes learn of changes is added by `test_verdict_model.py` (LISTEN) and `test_polling_model.py`.
"""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from db.verdict_world import KEYS, LEASE, THINGS, USER, Commit, Process, Read, World, revocations
from idp.authn import verdicts
from idp.db.changes import ALL_VERDICTS

PROCESS = st.integers(0, 1)
KEY = st.sampled_from(KEYS)


class VerdictMachine(RuleBasedStateMachine):
    """The world, and what may happen in it."""

    process: type[Process] = Process

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.process)
        self._patch = pytest.MonkeyPatch()
        self._patch.setattr(verdicts, "boottime", lambda: self.world.now)
        self.used = 0

    def teardown(self) -> None:
        self._patch.undo()

    def awake(self, number: int) -> Process | None:
        process = self.world.processes[number]
        return None if process.paused else process

    # --- the database ------------------------------------------------------------------------------------------------

    @rule(things=st.frozensets(st.sampled_from(THINGS), max_size=2))
    def begin(self, things: frozenset[str]) -> None:
        busy = {thing for each in self.world.primary.running for thing in each.things}
        if not things & busy and len(self.world.primary.running) < 4:  # a row's lock lets one writer in
            self.world.primary.begin(things)

    @precondition(lambda self: self.world.primary.running)
    @rule(number=st.integers(0, 3), committed=st.sampled_from((True, True, True, False)))
    def end(self, number: int, committed: bool) -> None:
        running = self.world.primary.running
        self.world.primary.end(running[number % len(running)], committed=committed, now=self.world.now)

    @rule(thing=st.sampled_from(THINGS))
    def change(self, thing: str) -> None:
        """A short transaction, in one step."""
        if not any(thing in each.things for each in self.world.primary.running):
            self.world.primary.begin(frozenset({thing}))
            self.world.primary.end(self.world.primary.running[-1], committed=True, now=self.world.now)

    @precondition(lambda self: self.world.histories < 4)
    @rule(lost=st.integers(0, 4), noticed=st.sampled_from(((True, True), (True, False), (False, False))))
    def fail_over(self, lost: int, noticed: tuple[bool, bool]) -> None:
        """Another server takes over, without the last changes; it gives their transaction numbers out again."""
        world = self.world
        world.primary = world.primary.fail_over(f"history-{world.histories}", min(lost, len(world.primary.commits)))
        world.histories += 1
        for process, knows in zip(world.processes, noticed, strict=True):
            if knows and not process.paused:
                process.deafen()

    @rule(seconds=st.sampled_from((0.1, 0.25)))
    def a_moment_passes(self, seconds: float) -> None:
        self.world.now += seconds

    # --- a process ---------------------------------------------------------------------------------------------------

    @rule(number=PROCESS, key=KEY)
    def read(self, number: int, key: str) -> None:
        process = self.awake(number)
        if process and len(process.reads) < 3:
            process.read(key)

    @rule(number=PROCESS, key=KEY, stored=st.booleans())
    def look_up(self, number: int, key: str, stored: bool) -> None:
        """The usual request that misses the caches."""
        process = self.awake(number)
        if process:
            process.read(key)
            process.finish(process.reads[-1])
            if stored:
                self.world.valkey.store_all()

    @rule(number=PROCESS, which=st.integers(0, 2))
    def finish_read(self, number: int, which: int) -> None:
        """Possibly much later than it was read: a late fill."""
        process = self.awake(number)
        if process and process.reads:
            read: Read = process.reads[which % len(process.reads)]
            process.finish(read)

    @rule(number=PROCESS)
    def crash(self, number: int) -> None:
        self.world.processes[number] = self.process(self.world)

    @rule(number=PROCESS)
    def pause_or_continue(self, number: int) -> None:
        process = self.world.processes[number]
        process.paused = not process.paused

    # --- Valkey and time ---------------------------------------------------------------------------------------------

    @precondition(lambda self: self.world.valkey.under_way)
    @rule(which=st.integers(0, 5), lost=st.sampled_from((False, False, True)))
    def store(self, which: int, lost: bool) -> None:
        """In any order: an older write may come last."""
        key, value = self.world.valkey.under_way.pop(which % len(self.world.valkey.under_way))
        if not lost:
            self.world.valkey.values[key] = value

    @rule()
    def valkey_is_emptied(self) -> None:
        self.world.valkey.values.clear()

    @rule(seconds=st.sampled_from((0.01, 0.2, 0.3, 0.76, 5.0)))
    def time_passes(self, seconds: float) -> None:
        self.world.now += seconds

    # --- what must hold ----------------------------------------------------------------------------------------------

    @invariant()
    def no_cached_verdict_misses_what_it_must_know(self) -> None:
        for process in self.world.processes:
            if not process.paused:
                for key in KEYS:
                    for shared in (False, True):
                        self._check(process, key, process.use(key, shared=shared))

    def _check(self, process: Process, key: str, seen: list[Commit] | None) -> None:
        if seen is None:
            return
        self.used += 1
        mine = {key, USER, ALL_VERDICTS}
        for commit in self.world.primary.commits:
            if commit.things & mine and commit not in seen:
                late = self.world.now - commit.at
                assert late <= LEASE, f"{sorted(commit.things)} was changed {late:.2f} s ago, and the verdict is older"
        known = revocations(key, seen)
        still = [each for each in process.refused.get(key, []) if each in self.world.primary.commits]
        assert known or not still, "accepted what this process had refused as revoked"
        process.refused[key] = [*process.refused.get(key, []), *known]
