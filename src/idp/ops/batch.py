"""Answers requests that arrived together in stages: first all decisions, then all writes, then all log lines.

Each stage needs other code and data: our decisions in the interpreter, the kernel's network stack, the encoder of log
lines. Alternating between them for each request evicts all of it from the processor's caches, and the same requests
take up to twice the processor time (decision 0061). A request waits for its batch at most, which is bounded.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextvars import Context
from typing import Protocol, TypeVar

from litestar.types import ASGIApp
from msgspec import Struct

from idp.ops import problems
from idp.ops.logging import describe

_MAX_REQUESTS = 32
T = TypeVar("T")


class PreparedAnswer(Struct, frozen=True):
    """An answer that only has to be written.

    Attributes:
        send: writes it in one system call; False, with nothing written, if the connection does not allow that now.
        finish: counts and logs the request, once it is sent.
        app: sends and finishes it otherwise.
    """

    send: Callable[[], bool]
    finish: Callable[[], None]
    app: ASGIApp


class Arrived(Protocol):
    """A connection with a request that has arrived completely."""

    def prepare(self) -> PreparedAnswer | None:
        """Return the answer to the request; None if a task answers it."""
        ...

    def start(self, app: ASGIApp) -> None:
        """Answer the request by a task that runs this application."""
        ...

    def drop(self) -> None:
        """Abort the connection."""
        ...


class Batch:
    """Collects the requests that arrive in an iteration of the event loop."""

    def __init__(self) -> None:
        self._waiting: list[Arrived] = []

    def add(self, connection: Arrived, loop: asyncio.AbstractEventLoop) -> None:
        """Answer a connection's request once everything that has arrived is read.

        Args:
            connection: of the request.
            loop: its event loop.
        """
        if not self._waiting:  # no request runs in the context of another one's connection
            loop.call_soon(self._answer_all, context=Context())
        self._waiting.append(connection)

    def _answer_all(self) -> None:
        """Answer what has arrived, before the next read: a client may have closed its side after its request."""
        waiting, self._waiting = self._waiting, []
        for begin in range(0, len(waiting), _MAX_REQUESTS):
            _answer(waiting[begin : begin + _MAX_REQUESTS])


def _answer(batch: Sequence[Arrived]) -> None:
    """Run the stages of a batch."""
    prepared = [(each, answer) for each in batch if (answer := _run(each.prepare, each)) is not None]
    sent = []
    for connection, answer in prepared:
        if (is_sent := _run(answer.send, connection)) is False:
            connection.start(answer.app)
        elif is_sent:
            sent.append((connection, answer))
    for connection, answer in sent:
        _run(answer.finish, connection)


def _run(stage: Callable[[], T], connection: Arrived) -> T | None:
    """Run a stage of one request; a fault there must not keep the others of the batch from their answers."""
    try:
        return stage()
    except Exception as error:  # noqa: BLE001
        problems.log.error("unexpected error", **describe(error))
        connection.drop()
        return None
