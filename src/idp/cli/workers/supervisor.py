"""The supervisor: keeps a generation of workers running, replaces it on SIGHUP, and stops it on SIGTERM.

It holds the listening sockets, so connections wait in their queue whatever happens to workers. It loads almost nothing
and never forks itself: a generation is a new interpreter, so that it has the code and settings of its time.
"""

import json
import os
import selectors
import signal
import socket
import sys
import time
from contextlib import suppress
from typing import Any

import structlog

from idp.cli.failure import Failure
from idp.cli.workers.channel import Channel, Message
from idp.cli.workers.generations import Generation, Worker
from idp.cli.workers.scrapes import Scrapes

_STOP_SECONDS = 13.0  # of workers: 10 for requests under way, 3 to clean up; then they are killed
_IDLE_SECONDS = 5.0  # of a reload: how long connections without a request stay open in an old worker
_LOAD_SECONDS = 120.0
_START_SECONDS = 60.0
_RESTART_SECONDS = 2.0  # between the starts of two generations, if the process of the first one died
_PAUSE_SECONDS = 5.0  # without a turn of our own: everything was paused, and nobody hangs
_TICK_SECONDS = 0.5
_FORCED_EXIT_AFTER = 3  # signals

log = structlog.get_logger("idp.serve")


class NotServing(Failure):
    """No worker ever served; the message is that of the generation."""


class Supervisor:
    """Runs workers on these sockets.

    Args:
        listeners: bound sockets.
        overrides: settings that are options of the command.
    """

    def __init__(self, listeners: list[socket.socket], overrides: dict[str, Any]) -> None:
        self._listeners = listeners
        self._overrides = overrides
        self._selector = selectors.DefaultSelector()
        self._generations: list[Generation] = []
        self._scrapes = Scrapes()
        self._has_terminal = _can_open_terminal()
        self._reload_wanted = False
        self._start_at: float | None = 0.0  # of a generation, None for none
        self._stops = 0
        self._failures: list[str] = []
        self._turn_at = time.monotonic()
        self._wakeup, self._waker = socket.socketpair()

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT.

        Raises:
            NotServing: the first generation cannot serve.
        """
        self._catch_signals()
        while self._generations or (self._start_at is not None and not self._stops):
            self._act()
            self._wait()
        if self._failures:
            raise NotServing("\nidp: ".join(self._failures))

    # --- signals -----------------------------------------------------------------------------------------------------

    def _catch_signals(self) -> None:
        for each in (self._wakeup, self._waker):
            each.setblocking(False)
        self._selector.register(self._wakeup, selectors.EVENT_READ)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # ignored under `nohup`
            signal.signal(signal.SIGHUP, self._on_reload)

    def _on_stop(self, *_: object) -> None:
        self._stops += 1

    def _on_reload(self, *_: object) -> None:
        if self._has_terminal and not _can_open_terminal():  # it was closed: that is no wish to reload
            self._stops += 1
        self._reload_wanted = True

    # --- what to do --------------------------------------------------------------------------------------------------

    @property
    def _workers(self) -> list[Worker]:
        return [worker for each in self._generations for worker in each.workers.values()]

    def _act(self) -> None:
        """Do what signals, messages and the time ask for."""
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:  # as process 1 of a container also orphans
                pass
        if self._stops:
            self._stop()
        else:
            self._start_or_promote()
        for each in list(self._generations):
            each.fork_due()
            self._remove_if_done(each)
        self._kill_late_workers()
        self._scrapes.answer(self._workers)

    def _stop(self) -> None:
        for each in self._generations:
            if each.state != "draining":
                each.drain(0, kill_after=_STOP_SECONDS)
        for worker in self._workers:
            if self._stops >= _FORCED_EXIT_AFTER:
                worker.kill()
            elif worker.kill_at is None or worker.kill_at > time.monotonic() + _STOP_SECONDS:
                worker.drain(0, kill_after=_STOP_SECONDS)  # a reload was giving it more time

    def _start_or_promote(self) -> None:
        loading = next((each for each in self._generations if each.state == "loading"), None)
        if loading is not None:
            self._promote_or_reject(loading)
        elif self._reload_wanted:
            self._reload_wanted, self._start_at = False, None
            log.info("reloading code and settings")
            self._start_generation()
        elif self._start_at is not None and time.monotonic() >= self._start_at:
            self._start_at = None
            self._start_generation()

    def _start_generation(self) -> None:
        ours, theirs = socket.socketpair()
        for each in (theirs, *self._listeners):
            os.set_inheritable(each.fileno(), True)
        facts = {
            "control": theirs.fileno(),
            "listeners": [each.fileno() for each in self._listeners],
            "overrides": self._overrides,
        }
        # -P: neither it nor its processes import modules from the current folder.
        program = [sys.executable, "-P", "-m", "idp.cli.workers.generation", json.dumps(facts)]
        blocked = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]  # until it ignores them
        pid = os.posix_spawn(program[0], program, os.environ, setsigmask=blocked)
        theirs.close()
        generation = Generation(pid, Channel(ours))
        self._selector.register(generation.control, selectors.EVENT_READ, generation)
        self._generations.append(generation)

    def _promote_or_reject(self, loading: Generation) -> None:
        """Let a new generation take over when all its workers serve; drop it if it cannot."""
        others = [each for each in self._generations if each is not loading and each.state != "draining"]
        if loading.is_ready:
            for each in others:
                each.drain(_IDLE_SECONDS, kill_after=_IDLE_SECONDS + _STOP_SECONDS)
            loading.state = "serving"
            host, port = self._listeners[0].getsockname()[:2]
            log.info("serving", address=f"http://{host}:{port}", workers=loading.wanted)
            return
        if not loading.wanted and time.monotonic() - loading.started_at > _LOAD_SECONDS:
            loading.failures.append(f"Loading takes longer than {_LOAD_SECONDS:.0f} s.")
        elif loading.control.closed and not loading.failures:
            loading.failures.append("The process that loads the service has ended: see the log above.")
        if not loading.failures:
            return
        loading.drain(0, kill_after=_STOP_SECONDS)
        if any(each.state == "serving" for each in others):
            for reason in loading.failures:
                log.error("the reload failed; the running workers stay", reason=reason)
        elif others:  # orphaned: they still serve, but cannot be replaced
            self._start_at = time.monotonic() + _RESTART_SECONDS
            log.error("workers cannot be replaced; trying again", reason=" ".join(loading.failures))
        else:
            self._failures = loading.failures

    def _remove_if_done(self, generation: Generation) -> None:
        if generation.state == "serving" and generation.control.closed:
            log.error("the process that forks workers has ended; starting another", pid=generation.pid)
            generation.state = "orphaned"
            self._start_at = time.monotonic()
        if generation.state in {"draining", "orphaned"} and not generation.workers:
            with suppress(KeyError):
                self._selector.unregister(generation.control)
            generation.control.close()  # its process ends with that
            self._generations.remove(generation)

    def _kill_late_workers(self) -> None:
        now = time.monotonic()
        if now - self._turn_at > _PAUSE_SECONDS:
            for worker in self._workers:
                worker.heard_at = worker.started_at = now
        self._turn_at = now
        for worker in self._workers:
            silent = now - (worker.started_at if worker.state == "starting" else worker.heard_at)
            limit = _START_SECONDS if worker.state == "starting" else worker.generation.hang_seconds
            if worker.kill_at is not None and now >= worker.kill_at:
                log.warning("a worker did not stop in time and is killed", worker=worker.number, pid=worker.pid)
                worker.kill()
            elif worker.kill_at is None and not worker.hung and silent > limit:
                log.error("a worker hangs and is killed", worker=worker.number, pid=worker.pid, silent=round(silent, 1))
                worker.hung = True
                worker.kill()

    # --- messages ----------------------------------------------------------------------------------------------------

    def _wait(self) -> None:
        """Wait for a message, a signal or the next thing to do, and take in what has come."""
        times = [each.next_fork for each in self._generations]
        times += [each.kill_at for each in self._workers]
        times += [self._scrapes.next_deadline, self._start_at, time.monotonic() + _TICK_SECONDS]
        until = min(each for each in times if each is not None)
        for key, _ in self._selector.select(max(0.0, until - time.monotonic())):
            if key.fileobj is self._wakeup:
                with suppress(BlockingIOError):
                    self._wakeup.recv(4096)
            elif isinstance(key.data, Generation):
                self._receive_from_generation(key.data)
            elif not key.data.channel.closed:  # by the message before
                self._receive_from_worker(key.data)
        for worker in self._workers:
            if worker.channel.has_unsent:
                worker.channel.flush()

    def _receive_from_generation(self, generation: Generation) -> None:
        for message in generation.control.receive():
            match message["kind"]:
                case "loaded":
                    generation.loaded(message["workers"], message["timeout"])
                case "failed":
                    generation.failures += message["reasons"]
                case "forked":
                    self._add_worker(generation, message)
                case "exited" if (worker := generation.workers.get(message["pid"])) is not None:
                    self._end_worker(worker, message["code"])
        if generation.control.closed:
            with suppress(KeyError):
                self._selector.unregister(generation.control)

    def _add_worker(self, generation: Generation, message: Message) -> None:
        connection = socket.socket(fileno=generation.control.descriptors.pop(0))
        worker = Worker(message["number"], message["pid"], Channel(connection), generation)
        self._selector.register(worker.channel, selectors.EVENT_READ, worker)
        generation.forked(worker)

    def _receive_from_worker(self, worker: Worker) -> None:
        for message in worker.channel.receive():
            worker.heard_at = time.monotonic()
            match message["kind"]:
                case "ready":
                    worker.generation.became_ready(worker)
                case "samples":
                    worker.families = message["families"]
                    worker.is_asked = worker.is_asked and not message.get("asked")
                case "scrape":
                    self._scrapes.begin(worker, self._workers)
        if worker.channel.closed:
            with suppress(KeyError):
                self._selector.unregister(worker.channel)
            if worker.generation.control.closed:  # nobody else tells of its end
                self._end_worker(worker, None)

    def _end_worker(self, worker: Worker, code: int | None) -> None:
        if not worker.channel.closed:
            self._receive_from_worker(worker)  # its last words
        with suppress(KeyError, ValueError):
            self._selector.unregister(worker.channel)
        worker.channel.close()
        self._scrapes.remember(worker)
        if worker.state != "draining":
            log.warning("a worker ended; it is replaced", worker=worker.number, pid=worker.pid, code=code)
            self._scrapes.count_exit("hang" if worker.hung else "died")
        worker.generation.ended(worker)


def _can_open_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
