"""The single writer: runs all changes to keys of this process, in group commits (C-27).

A group takes the cluster's lock, runs each command in a savepoint, and answers the callers after the commit. A
*waiting* command can still be refused; a *taken* one belongs to a running group, and its caller gets the outcome of the
commit.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from idp.apikeys.service import lock
from idp.background import BackgroundService
from idp.db.engine import Database, is_away, sqlstate
from idp.db.snapshot import INSTANCE
from idp.errors import DatabaseUnavailable, IdpError, InternalError, OutcomeUnknown, WriterBusy
from idp.ops import metrics
from idp.ops.logging import describe

log = structlog.get_logger("idp.apikeys")

T = TypeVar("T")
Work = Callable[[AsyncSession], Awaitable[T]]

LARGEST_GROUP = 64
# From here on the cluster waits for this transaction, so waits for row locks are short.
_BEGIN = text(
    f"SELECT pg_current_xact_id()::text AS xid, {INSTANCE} AS instance, set_config('lock_timeout', '500ms', true)"
)
_WAIT_NO_MORE = text("SELECT set_config('lock_timeout', '10ms', true)")
_LOCK_TIMEOUT = "55P03"
_FATE = f"""
SELECT {INSTANCE} AS instance, CASE WHEN {INSTANCE} = $2 THEN pg_xact_status($1::text::xid8) END AS status
"""
_ASK_FOR_SECONDS = 3.0  # how long the outcome of a transaction is queried
_ASK_EVERY_SECONDS = 0.05
_TRY_EVERY_SECONDS = 0.25  # retry interval of a transaction that certainly failed


class Command(Generic[T]):
    """A change with a waiting caller."""

    def __init__(self, name: str, work: Work[T]) -> None:
        self.name = name
        self.work = work
        self.answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.began = time.perf_counter()
        self.taken = False

    @property
    def age(self) -> float:
        return time.perf_counter() - self.began


class _Group:
    """Commands that share a transaction, and its state."""

    def __init__(self, commands: list[Command[Any]]) -> None:
        self.commands = commands
        self.transaction: str | None = None
        self.instance: str | None = None
        self.outcomes: list[Any] = []


class CommandQueue(BackgroundService):
    """Queues commands and runs them, one group after the other.

    Args:
        database: runs the transactions.
        limit: maximum queue length for creations; revocations are always accepted.
        patience: maximum waiting time before a command is taken (seconds).
        largest_group: maximum commands per transaction.
    """

    def __init__(
        self, database: Database, *, limit: int = 1000, patience: float = 5.0, largest_group: int = LARGEST_GROUP
    ) -> None:
        super().__init__("command processor", self._run)
        self._database = database
        self._limit = limit
        self._patience = patience
        self._largest = largest_group
        self._urgent: deque[Command[Any]] = deque()
        self._waiting: deque[Command[Any]] = deque()
        self._wake = asyncio.Event()
        self._away = False  # whether PostgreSQL was unavailable at the last attempt
        metrics.watch_command_queue(lambda: len(self._urgent) + len(self._waiting))

    async def stop(self) -> None:
        """Stop after the running group; waiting commands are refused."""
        await super().stop()
        for command in (*self._urgent, *self._waiting):
            _refuse(command, WriterBusy("The service is stopping; nothing was changed."))

    async def probe(self) -> str:
        """Return the state of the writer in S2's terms (S2-40)."""
        return "running" if self._tasks and not any(task.done() for task in self._tasks) else "stopped"

    async def submit(self, name: str, work: Work[T], *, urgent: bool = False) -> T:
        """Run a change and return its result, after the commit.

        Args:
            name: for metrics, such as `create_key`.
            work: runs in the transaction; called again if the transaction certainly failed.
            urgent: for revocations: run first, and accepted even if the queue is full.

        Raises:
            WriterBusy: it was not taken in time; nothing was changed.
            DatabaseUnavailable: PostgreSQL is unavailable; nothing was changed.
            OutcomeUnknown: the connection was lost at the commit, and the outcome cannot be determined.
            IdpError: raised by the change itself.
        """
        if not urgent and len(self._waiting) >= self._limit:
            raise WriterBusy
        command = Command(name, work)
        queue = self._urgent if urgent else self._waiting
        queue.append(command)
        self._wake.set()
        await asyncio.wait({command.answer}, timeout=self._patience)
        if not command.taken and not command.answer.done():
            queue.remove(command)
            raise DatabaseUnavailable if self._away else WriterBusy
        try:
            return await asyncio.shield(command.answer)
        finally:
            metrics.observe_command(command=name, seconds=command.age)

    # --- the one that writes -----------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while group := self._take():
                await self._commit_group(_Group(group))

    def _take(self) -> list[Command[Any]]:
        group: list[Command[Any]] = []
        for queue in (self._urgent, self._waiting):
            while queue and len(group) < self._largest:
                command = queue.popleft()
                command.taken = True
                group.append(command)
        return group

    async def _commit_group(self, group: _Group) -> None:
        """Run a group until its commit certainly succeeded, certainly failed, or cannot be determined."""
        try:
            while True:
                group.transaction, group.outcomes = None, []
                try:
                    await self._attempt(group)
                    self._away = False
                    break
                except DatabaseUnavailable as error:
                    self._away = True
                    if await self._happened(group):
                        break
                    if max(command.age for command in group.commands) > self._patience:
                        _refuse_all(group, error)
                        return
                    await asyncio.sleep(_TRY_EVERY_SECONDS)
        except IdpError as error:
            _refuse_all(group, error)
        except Exception as error:  # noqa: BLE001  the writer must outlive whatever a command does
            log.error("command group failed", **describe(error))  # noqa: TRY400
            _refuse_all(group, InternalError())
        except asyncio.CancelledError:
            _refuse_all(group, OutcomeUnknown())
            raise
        else:
            for command, outcome in zip(group.commands, group.outcomes, strict=True):
                _answer(command, outcome)

    async def _attempt(self, group: _Group) -> None:
        async with self._database.transaction() as session:
            await lock(session)
            row = (await session.execute(_BEGIN)).mappings().one()
            group.transaction, group.instance = row["xid"], row["instance"]
            for command in group.commands:
                group.outcomes.append(await _perform(session, command))

    async def _happened(self, group: _Group) -> bool:
        """Query the outcome of a transaction whose connection was lost.

        Raises:
            OutcomeUnknown: PostgreSQL does not know, or another instance answers.
        """
        if group.transaction is None or len(group.outcomes) < len(group.commands):
            return False  # the commit was never sent
        until = time.perf_counter() + _ASK_FOR_SECONDS
        while time.perf_counter() < until:
            try:
                row = await self._database.reads.fetchrow(_FATE, group.transaction, group.instance)
            except DatabaseUnavailable:
                row = None
            if row is not None:
                if row["instance"] != group.instance or row["status"] is None:
                    break
                if row["status"] != "in progress":
                    log.warning("commit resolved after a lost connection", outcome=row["status"])
                    return bool(row["status"] == "committed")
            await asyncio.sleep(_ASK_EVERY_SECONDS)
        raise OutcomeUnknown


async def _perform(session: AsyncSession, command: Command[Any]) -> Any:
    """Run a command in its own savepoint; its error affects only itself, unless the database is lost."""
    try:
        async with session.begin_nested():
            return await command.work(session)
    except DatabaseUnavailable:
        raise
    except IdpError as error:
        return error
    except Exception as error:
        if sqlstate(error) == _LOCK_TIMEOUT:
            await session.execute(_WAIT_NO_MORE)  # also for the other commands of this group
            return WriterBusy(
                "Another change of the same user is still running; nothing was changed. Try again shortly."
            )
        if is_away(error):
            raise
        log.error("command failed", command=command.name, **describe(error))  # noqa: TRY400
        return InternalError()


def _answer(command: Command[Any], outcome: Any) -> None:
    if isinstance(outcome, IdpError):
        _refuse(command, outcome)
    elif not command.answer.done():
        command.answer.set_result(outcome)


def _refuse(command: Command[Any], error: IdpError) -> None:
    if not command.answer.done():
        command.answer.set_exception(error)


def _refuse_all(group: _Group, error: IdpError) -> None:
    for command in group.commands:
        _refuse(command, error)
