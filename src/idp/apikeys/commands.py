"""The single writer: every change to keys in this process, in groups that share one transaction (C-27).

A group takes the cluster's lock, gives each command a savepoint, and answers its callers after the commit. A command is
*waiting*, when it can still be refused, or *taken*, when its caller waits for the commit and learns what became of it.
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
# From here on the cluster waits for us, so we wait for nobody's row for long.
_BEGIN = text(
    f"SELECT pg_current_xact_id()::text AS xid, {INSTANCE} AS instance, set_config('lock_timeout', '500ms', true)"
)
_WAIT_NO_MORE = text("SELECT set_config('lock_timeout', '10ms', true)")
_LOCK_TIMEOUT = "55P03"
_FATE = f"""
SELECT {INSTANCE} AS instance, CASE WHEN {INSTANCE} = $2 THEN pg_xact_status($1::text::xid8) END AS status
"""
_ASK_FOR_SECONDS = 3.0  # how long the fate of a transaction is asked for
_ASK_EVERY_SECONDS = 0.05
_TRY_EVERY_SECONDS = 0.25  # how often a transaction that certainly failed is tried again


class Command(Generic[T]):
    """A change that somebody waits for."""

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
    """Commands that share a transaction, and what is known of it."""

    def __init__(self, commands: list[Command[Any]]) -> None:
        self.commands = commands
        self.transaction: str | None = None
        self.instance: str | None = None
        self.outcomes: list[Any] = []


class CommandQueue(BackgroundService):
    """Takes commands and runs them, one group after the other.

    Args:
        database: where they run.
        limit: how many may wait before creations are refused; revocations never are.
        patience: seconds that a command may wait before it is taken.
        largest_group: how many commands may share a transaction.
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
        self._away = False  # whether PostgreSQL was, when it was asked last
        metrics.watch_command_queue(lambda: len(self._urgent) + len(self._waiting))

    async def stop(self) -> None:
        """Stop after the group that is under way; what still waits is refused."""
        await super().stop()
        for command in (*self._urgent, *self._waiting):
            _refuse(command, WriterBusy("The service is stopping; nothing was changed."))

    async def probe(self) -> str:
        """Return S2's word for the state of the writer (S2-40)."""
        return "running" if self._tasks and not any(task.done() for task in self._tasks) else "stopped"

    async def submit(self, name: str, work: Work[T], *, urgent: bool = False) -> T:
        """Run a change and return its result, after the commit.

        Args:
            name: for metrics, such as `create_key`.
            work: what to do in the transaction; it may be called again, after a transaction that certainly failed.
            urgent: for revocations: they come first and are never refused by a full queue.

        Raises:
            WriterBusy: it was not taken in time; nothing happened.
            DatabaseUnavailable: PostgreSQL is away; nothing happened.
            OutcomeUnknown: PostgreSQL was lost at the commit, and nobody can say.
            IdpError: what the change itself refused.
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
        """Run a group until it certainly happened, certainly did not, or nobody can know."""
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
        """Ask what became of a transaction whose connection was lost.

        Raises:
            OutcomeUnknown: PostgreSQL cannot say, or another one answers.
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
    """Run one command in a savepoint of its own; its failure is its own, the loss of the database everyone's."""
    try:
        async with session.begin_nested():
            return await command.work(session)
    except DatabaseUnavailable:
        raise
    except IdpError as error:
        return error
    except Exception as error:
        if sqlstate(error) == _LOCK_TIMEOUT:
            await session.execute(_WAIT_NO_MORE)  # nor do its neighbours in this group
            return WriterBusy("Another change of the same person takes long; nothing was changed. Try again shortly.")
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
