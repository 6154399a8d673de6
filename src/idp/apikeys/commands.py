"""The single writer: runs all changes to keys of this process, in groups that share one transaction (C-27).

A group takes the cluster-wide lock, runs each command in a savepoint, and answers the callers after the commit. A
*waiting* command can still be refused; the caller of a *taken* command waits for the commit and gets its outcome.
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
from idp.db.engine import Database, is_unavailable, sqlstate
from idp.db.snapshot import INSTANCE
from idp.errors import DatabaseUnavailable, IdpError, InternalError, OutcomeUnknown, WriterBusy
from idp.ops import metrics
from idp.ops.logging import describe

log = structlog.get_logger("idp.apikeys")

T = TypeVar("T")
Work = Callable[[AsyncSession], Awaitable[T]]

MAX_GROUP_SIZE = 64
# The cluster-wide lock is held from here on, so row locks are waited for only briefly.
_BEGIN = text(
    f"SELECT pg_current_xact_id()::text AS xid, {INSTANCE} AS instance, set_config('lock_timeout', '500ms', true)"
)
_SHORTEN_LOCK_TIMEOUT = text("SELECT set_config('lock_timeout', '10ms', true)")
_LOCK_TIMEOUT = "55P03"
_TRANSACTION_STATUS = f"""
SELECT {INSTANCE} AS instance, CASE WHEN {INSTANCE} = $2 THEN pg_xact_status($1::text::xid8) END AS status
"""
_STATUS_TIMEOUT_SECONDS = 3.0  # after a lost connection
_STATUS_RETRY_SECONDS = 0.05
_RETRY_SECONDS = 0.25  # between attempts of a transaction that was not committed


class Command(Generic[T]):
    """A queued change, and the future of its caller."""

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
    """Commands that share a transaction, its id, and their outcomes."""

    def __init__(self, commands: list[Command[Any]]) -> None:
        self.commands = commands
        self.transaction: str | None = None
        self.instance: str | None = None
        self.outcomes: list[Any] = []


class CommandQueue(BackgroundService):
    """Queues commands and runs them, one group at a time.

    Args:
        database: the database.
        limit: of waiting commands, above which creations are refused; revocations never are.
        max_wait: seconds a command may wait before it is taken.
        max_group_size: commands per transaction.
    """

    def __init__(
        self, database: Database, *, limit: int = 1000, max_wait: float = 5.0, max_group_size: int = MAX_GROUP_SIZE
    ) -> None:
        super().__init__("command processor", self._run)
        self._database = database
        self._limit = limit
        self._max_wait = max_wait
        self._max_group_size = max_group_size
        self._urgent: deque[Command[Any]] = deque()
        self._waiting: deque[Command[Any]] = deque()
        self._wake = asyncio.Event()
        self._database_away = False  # in the last attempt
        metrics.watch_command_queue(lambda: len(self._urgent) + len(self._waiting))

    async def stop(self) -> None:
        """Stop after the current group; refuse the commands that still wait."""
        await super().stop()
        for command in (*self._urgent, *self._waiting):
            _refuse(command, WriterBusy("The service is stopping; nothing was changed."))

    async def probe(self) -> str:
        """Return the state of the writer, as `/health` reports it (S2-40)."""
        return "running" if self._tasks and not any(task.done() for task in self._tasks) else "stopped"

    async def submit(self, name: str, work: Work[T], *, urgent: bool = False) -> T:
        """Run a change and return its result, after the commit.

        Args:
            name: for metrics, such as `create_key`.
            work: runs in the transaction; it is called again if the transaction was not committed.
            urgent: for revocations: they run first, and a full queue does not refuse them.

        Raises:
            WriterBusy: it was not taken in time; nothing was changed.
            DatabaseUnavailable: PostgreSQL is unavailable; nothing was changed.
            OutcomeUnknown: the connection was lost at the commit, and the outcome cannot be determined.
            IdpError: the change was refused.
        """
        if not urgent and len(self._waiting) >= self._limit:
            raise WriterBusy
        command = Command(name, work)
        queue = self._urgent if urgent else self._waiting
        queue.append(command)
        self._wake.set()
        await asyncio.wait({command.answer}, timeout=self._max_wait)
        if not command.taken and not command.answer.done():
            queue.remove(command)
            raise DatabaseUnavailable if self._database_away else WriterBusy
        try:
            return await asyncio.shield(command.answer)
        finally:
            metrics.observe_command(command=name, seconds=command.age)

    # --- the writer --------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while group := self._take():
                await self._commit_group(_Group(group))

    def _take(self) -> list[Command[Any]]:
        group: list[Command[Any]] = []
        for queue in (self._urgent, self._waiting):
            while queue and len(group) < self._max_group_size:
                command = queue.popleft()
                command.taken = True
                group.append(command)
        return group

    async def _commit_group(self, group: _Group) -> None:
        """Run a group until it is committed, refused, or its outcome cannot be determined."""
        try:
            while True:
                group.transaction, group.outcomes = None, []
                try:
                    await self._attempt(group)
                    self._database_away = False
                    break
                except DatabaseUnavailable as error:
                    self._database_away = True
                    if await self._is_committed(group):
                        break
                    if max(command.age for command in group.commands) > self._max_wait:
                        _refuse_all(group, error)
                        return
                    await asyncio.sleep(_RETRY_SECONDS)
        except IdpError as error:
            _refuse_all(group, error)
        except Exception as error:  # noqa: BLE001  a failing command must not end the writer
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

    async def _is_committed(self, group: _Group) -> bool:
        """Whether a transaction whose connection was lost at the commit was committed.

        Raises:
            OutcomeUnknown: PostgreSQL no longer knows, or another instance answers.
        """
        if group.transaction is None or len(group.outcomes) < len(group.commands):
            return False  # the commit was never sent
        deadline = time.perf_counter() + _STATUS_TIMEOUT_SECONDS
        while time.perf_counter() < deadline:
            try:
                row = await self._database.reads.fetchrow(_TRANSACTION_STATUS, group.transaction, group.instance)
            except DatabaseUnavailable:
                row = None
            if row is not None:
                if row["instance"] != group.instance or row["status"] is None:
                    break
                if row["status"] != "in progress":
                    log.warning("commit resolved after a lost connection", outcome=row["status"])
                    return bool(row["status"] == "committed")
            await asyncio.sleep(_STATUS_RETRY_SECONDS)
        raise OutcomeUnknown


async def _perform(session: AsyncSession, command: Command[Any]) -> Any:
    """Run one command in a savepoint: its failure is returned, and the loss of the database is raised for the group."""
    try:
        async with session.begin_nested():
            return await command.work(session)
    except DatabaseUnavailable:
        raise
    except IdpError as error:
        return error
    except Exception as error:
        if sqlstate(error) == _LOCK_TIMEOUT:
            await session.execute(_SHORTEN_LOCK_TIMEOUT)  # for the rest of the group, too
            return WriterBusy("Another change of the same user is in progress; nothing was changed. Try again shortly.")
        if is_unavailable(error):
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
