"""Database: a pool of connections, transactions that are written out, and an honest 503 when PostgreSQL is away."""

import asyncio
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import event, exc, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine

from idp.db.address import DatabaseUrlError, parse
from idp.db.connecting import Connector, unavailable
from idp.db.reads import Reads
from idp.errors import DatabaseUnavailable
from idp.settings import Secret
from idp.settings_schema import Database as DatabaseSettings

T = TypeVar("T")

# SQLSTATE classes that say "not now" rather than "not so": connection, resources, operator, system, canceled.
# And what may succeed at the next attempt: a serialisation failure, a deadlock.
_AWAY = re.compile(r"^(08|53|57|58|25006|55P03|40001|40P01)")


_IN_THE_WAY = re.compile(r"^(40001|40P01)")
_ATTEMPTS = 4

# For hot reads beside the pool: they share statements, so a few are enough (`db/batch.py`).
_HOT_CONNECTIONS = 5


class Database:
    """One pool of connections to one PostgreSQL.

    Args:
        url: the address; `settings.url` by default.
        settings: pool sizes and limits in seconds.
        search_path: only for comparing schemas; our statements name theirs, and a pooler may refuse the parameter.
    """

    def __init__(
        self, settings: DatabaseSettings, *, url: Secret | None = None, search_path: str | None = None
    ) -> None:
        address = url or settings.url
        if address is None:
            raise DatabaseUrlError("DATABASE_URL is not set.")
        self._address = parse(address.reveal())
        self._settings = settings
        self._connector = Connector(settings, search_path=search_path)
        self._measuring: asyncio.Task[None] | None = None
        self.engine: AsyncEngine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self._connect,
            pool_size=settings.pool_size,
            max_overflow=settings.max_overflow,
            pool_timeout=settings.pool_timeout_seconds,
            pool_pre_ping=True,  # one that does not answer makes those that are as old suspect, too
            pool_recycle=int(settings.connection_max_age_seconds),
            hide_parameters=True,  # an error must not quote a password hash
        )
        event.listen(self.engine.sync_engine, "connect", _without_names)
        self.reads = Reads(
            lambda *_, **__: self._connect(),
            size=_HOT_CONNECTIONS,
            patience=lambda: self._connector.patience(self._address),
            max_age_seconds=settings.connection_max_age_seconds,
            gave_up=self._gave_up,
        )
        self._abandoned: set[asyncio.Task[Any]] = set()

    async def connect_directly(self) -> Any:
        """Open a connection for LISTEN, past a statement pooler where `direct_url` names the way."""
        direct = self._settings.direct_url
        return await self._connector.open(parse(direct.reveal()) if direct else self._address)

    async def _connect(self) -> Any:
        return await self._connector.open(self._address)

    def _gave_up(self) -> None:
        """A request did not wait for a connection any longer: find out how long one takes, for those to come."""
        if self._measuring is None or self._measuring.done():
            self._measuring = asyncio.create_task(self._connector.measure(self._address))
            self._later(self._measuring)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """Open a transaction; commit it at the end of the block, roll it back when the block raises.

        Answer the client only after the block: the commit is its last step.

        Raises:
            DatabaseUnavailable: PostgreSQL is away, out of connections or too slow.
        """
        try:
            connection = await self._answering_connection()
            try:
                async with AsyncSession(connection, expire_on_commit=False) as session:
                    yield session
                    await session.commit()
            finally:
                giving_back = asyncio.create_task(connection.close())
                self._later(giving_back)
                await asyncio.shield(giving_back)  # also where the task is cancelled in this very moment
        except (
            exc.SQLAlchemyError,
            asyncpg.PostgresError,
            asyncpg.InterfaceError,
            OSError,
            TimeoutError,
        ) as error:
            if not is_away(error):
                raise
            raise unavailable(error) from error

    async def transact(self, work: Callable[[AsyncSession], Awaitable[T]]) -> T:
        """Run the work in a transaction; again, within a bound, where another transaction was in its way.

        Args:
            work: does nothing but what a rollback undoes, so that it may run several times.

        Raises:
            DatabaseUnavailable: as for `transaction`, or another transaction was in the way each time.
        """
        for attempt in range(1, _ATTEMPTS):
            try:
                async with self.transaction() as session:
                    return await work(session)
            except DatabaseUnavailable as error:
                if not _IN_THE_WAY.match(sqlstate(error.__cause__) or ""):
                    raise
                await asyncio.sleep(random.uniform(0.005, 0.02) * attempt)  # noqa: S311  no secret
        async with self.transaction() as session:
            return await work(session)

    async def _answering_connection(self) -> AsyncConnection:
        """Return a connection that has just answered, or give up after `pool_timeout_seconds`.

        Ending a connection to a server that hangs takes seconds of its own, so what is given up ends in the background.
        """
        opening = asyncio.create_task(self._open())
        try:
            await asyncio.wait({opening}, timeout=self._connector.patience(self._address))
            if not opening.done():
                self._gave_up()
                raise TimeoutError("no connection answered in time")
            return opening.result()
        except asyncio.CancelledError:
            if opening.done() and not opening.cancelled() and opening.exception() is None:
                self._later(asyncio.create_task(opening.result().close()))  # it came just as nobody wanted it any more
            raise
        finally:
            if not opening.done():
                self._later(opening)
                opening.cancel()

    def _later(self, task: asyncio.Task[Any]) -> None:
        """Let a task end in the background; `close` waits for it."""
        self._abandoned.add(task)
        task.add_done_callback(self._abandoned.discard)

    async def _open(self) -> AsyncConnection:
        return await self.engine.connect()  # the pool asks the server before it hands a connection out

    async def ping(self) -> None:
        """Run the smallest statement there is.

        Raises:
            DatabaseUnavailable: as for `transaction`.
        """
        async with self.transaction() as session:
            await session.execute(text("SELECT 1"))

    async def close(self) -> None:
        if self._measuring is not None:
            self._measuring.cancel()
        await self.reads.close()
        await asyncio.gather(*self._abandoned, return_exceptions=True)
        await self.engine.dispose()


def _without_names(connection: Any, _record: Any) -> None:
    """Keep no prepared statement of SQLAlchemy's where a pooler would lose it."""
    pooling = connection.driver_connection.pooling
    if pooling is not None and pooling.pooled and not pooling.prepares:
        connection._prepared_statement_cache = None  # noqa: SLF001  SQLAlchemy has no public way


def is_away(error: BaseException) -> bool:
    """Tell "PostgreSQL cannot answer now" from "PostgreSQL says no"."""
    if isinstance(error, exc.TimeoutError | OSError | TimeoutError):
        return True
    if isinstance(error, exc.DBAPIError) and error.connection_invalidated:
        return True
    state = sqlstate(error)
    if state is not None:
        return bool(_AWAY.match(state))
    return isinstance(error, exc.InterfaceError | asyncpg.InterfaceError | exc.OperationalError) or isinstance(
        getattr(error, "__cause__", None), OSError | TimeoutError
    )


def sqlstate(error: BaseException | None) -> str | None:
    """Return PostgreSQL's SQLSTATE of an error, from wherever SQLAlchemy keeps it."""
    for candidate in (getattr(error, "orig", None), error):
        state = getattr(candidate, "sqlstate", None)
        if isinstance(state, str):
            return state
    return None


def violated_constraint(error: exc.IntegrityError) -> str | None:
    """Return the name of the constraint that refused a row, such as `uq_teams_name`."""
    name = getattr(getattr(error.orig, "__cause__", None), "constraint_name", None)
    return name if isinstance(name, str) else None
