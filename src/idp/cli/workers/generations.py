"""What the supervisor knows of its generations and their workers."""

import os
import signal
import time
from contextlib import suppress
from typing import Any, Literal

from idp.cli.workers.channel import Channel

_EARLY_SECONDS = 5.0  # a worker that dies sooner after its start is replaced with a delay
_DELAYS = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)  # seconds, by the number of workers that died early, in a row
_GIVE_UP_AFTER = 3  # workers that died before any was ready

State = Literal["starting", "ready", "draining"]
GenerationState = Literal["loading", "serving", "orphaned", "draining"]


class Worker:
    """A worker.

    Attributes:
        heard_at: when it last sent something, by the monotonic clock.
        families: its metrics, as last reported.
        is_asked: whether it has not yet answered the question for its metrics.
        kill_at: when it is killed, None if it may run on.
        hung: whether it was killed because it hung.
    """

    def __init__(self, number: int, pid: int, channel: Channel, generation: "Generation") -> None:
        self.number, self.pid, self.channel, self.generation = number, pid, channel, generation
        self.state: State = "starting"
        self.started_at = self.heard_at = time.monotonic()
        self.families: list[Any] = []
        self.is_asked = False
        self.hung = False
        self.kill_at: float | None = None

    def drain(self, seconds: float, *, kill_after: float) -> None:
        """Ask it to stop.

        Args:
            seconds: how long idle connections stay open.
            kill_after: seconds until it is killed.
        """
        self.state = "draining"
        self.kill_at = time.monotonic() + kill_after
        self.channel.send("drain", seconds=seconds)

    def kill(self) -> None:
        """Kill it. Its connection is open, so its process id is not another's."""
        self.kill_at = None
        if not self.channel.closed:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


class Generation:
    """An interpreter that has loaded code and settings, and its workers.

    Attributes:
        state: `loading` until all its workers serve; `orphaned` when its process has died, so that its workers cannot
            be replaced.
        wanted: the number of workers, 0 until it has loaded.
        failures: why it cannot be used, empty if it can.
    """

    def __init__(self, pid: int, control: Channel) -> None:
        self.pid, self.control = pid, control
        self.state: GenerationState = "loading"
        self.wanted = 0
        self.hang_seconds = 0.0
        self.started_at = time.monotonic()
        self.workers: dict[int, Worker] = {}  # by process id
        self.failures: list[str] = []
        self._due: dict[int, float] = {}  # when to fork a worker, by its number
        self._early_deaths = 0
        self._was_ready = False

    @property
    def is_ready(self) -> bool:
        """Whether all its workers serve."""
        return 0 < self.wanted <= sum(each.state == "ready" for each in self.workers.values())

    def loaded(self, wanted: int, hang_seconds: float) -> None:
        """Begin to start workers."""
        self.wanted, self.hang_seconds = wanted, hang_seconds
        self._due = dict.fromkeys(range(1, wanted + 1), 0.0)

    def fork_due(self) -> None:
        """Ask for the workers whose time has come."""
        if self.state not in {"loading", "serving"}:
            return
        for number in [number for number, due in self._due.items() if due <= time.monotonic()]:
            del self._due[number]
            self.control.send("fork", number=number)

    @property
    def next_fork(self) -> float | None:
        """When the next worker is due."""
        return min(self._due.values(), default=None)

    def forked(self, worker: Worker) -> None:
        """Note a new worker."""
        self.workers[worker.pid] = worker
        if self.state == "draining":  # asked for before
            worker.drain(0, kill_after=0)

    def became_ready(self, worker: Worker) -> None:
        """Note that a worker serves."""
        self._was_ready = True
        if worker.state == "starting":
            worker.state = "ready"

    def ended(self, worker: Worker) -> None:
        """Note the end of a worker, and when to replace it."""
        self.workers.pop(worker.pid, None)
        if self.state not in {"loading", "serving"}:
            return
        early = worker.state == "starting" or time.monotonic() - worker.started_at < _EARLY_SECONDS
        self._early_deaths = self._early_deaths + 1 if early else 0
        if not self._was_ready and self._early_deaths >= _GIVE_UP_AFTER:
            self.failures.append("The workers end before they are ready: see the log above.")
            return
        self._due[worker.number] = time.monotonic() + _DELAYS[min(self._early_deaths, len(_DELAYS) - 1)]

    def drain(self, seconds: float, *, kill_after: float) -> None:
        """Stop all workers.

        Args:
            seconds: how long idle connections stay open.
            kill_after: seconds until a worker is killed.
        """
        loads = self.state == "loading" and not self.wanted
        self.state = "draining"
        for each in self.workers.values():
            each.drain(seconds, kill_after=kill_after)
        if loads:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
