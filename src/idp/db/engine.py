"""Database: connection pool, explicit transactions, and 503 when PostgreSQL is unavailable."""

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

# SQLSTATE classes of temporary errors: connection, resources, operator, system, canceled; and of conflicts that a retry
# may resolve: serialisation failure, deadlock.
_UNAVAILABLE = re.compile(r"^(08|53|57|58|25006|55P03|40001|40P01)")
# Without a SQLSTATE, the connection was lost; the error is the driver's internal one if that happened in its handshake.
_LOST = (
    exc.InterfaceError,
    exc.OperationalError,
    exc.InternalError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)

_RETRYABLE = re.compile(r"^(40001|40P01)")
_ATTEMPTS = 4

# For frequent reads beside the pool; a few suffice, because look-ups share statements (`db/batch.py`).
_READ_CONNECTIONS = 5


class Database:
    """A connection pool for one PostgreSQL database.

    Args:
        url: the database URL; `settings.url` by default.
        settings: pool sizes and limits in seconds.
        search_path: only for schema comparison; our statements name the schema, and a pooler may refuse the parameter.
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
        self._measurement: asyncio.Task[None] | None = None
        self.engine: AsyncEngine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self._connect,
            pool_size=settings.pool_size,
            max_overflow=settings.max_overflow,
            pool_timeout=settings.pool_timeout_seconds,
            pool_pre_ping=True,  # a failed ping also invalidates connections of the same age
            pool_recycle=int(settings.connection_max_age_seconds),
            hide_parameters=True,  # errors must not contain a password hash
        )
        event.listen(self.engine.sync_engine, "connect", _disable_statement_cache)
        self.reads = Reads(
            lambda *_, **__: self._connect(),
            size=_READ_CONNECTIONS,
            timeout_seconds=lambda: self._connector.timeout_seconds(self._address),
            max_age_seconds=settings.connection_max_age_seconds,
            on_timeout=self._on_timeout,
        )
        self._background: set[asyncio.Task[Any]] = set()

    async def connect_directly(self) -> Any:
        """Open a connection for LISTEN, with `direct_url` if set, to bypass a statement pooler."""
        direct = self._settings.direct_url
        return await self._connector.open(parse(direct.reveal()) if direct else self._address)

    async def _connect(self) -> Any:
        return await self._connector.open(self._address)

    def _on_timeout(self) -> None:
        """After a request timed out: measure the connection time, to adapt later timeouts."""
        if self._measurement is None or self._measurement.done():
            self._measurement = asyncio.create_task(self._connector.measure(self._address))
            self._run_in_background(self._measurement)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """Open a transaction; commit it at the end of the block, roll it back when the block raises.

        Respond to the client only after the block, which ends with the commit.

        Raises:
            DatabaseUnavailable: PostgreSQL is unreachable, out of connections or too slow.
        """
        try:
            connection = await self._checked_connection()
            try:
                async with AsyncSession(connection, expire_on_commit=False) as session:
                    yield session
                    await session.commit()
            finally:
                closing = asyncio.create_task(connection.close())
                self._run_in_background(closing)
                await asyncio.shield(closing)  # even if the task is cancelled now
        except (
            exc.SQLAlchemyError,
            asyncpg.PostgresError,
            asyncpg.InterfaceError,
            asyncpg.InternalClientError,
            OSError,
            TimeoutError,
        ) as error:
            if not is_unavailable(error):
                raise
            raise unavailable(error) from error

    async def transact(self, work: Callable[[AsyncSession], Awaitable[T]]) -> T:
        """Run work in a transaction; retry it a few times after a conflict with another transaction.

        Args:
            work: may run several times, so a rollback must undo all its effects.

        Raises:
            DatabaseUnavailable: as for `transaction`, or every attempt had a conflict.
        """
        for attempt in range(1, _ATTEMPTS):
            try:
                async with self.transaction() as session:
                    return await work(session)
            except DatabaseUnavailable as error:
                if not _RETRYABLE.match(sqlstate(error.__cause__) or ""):
                    raise
                await asyncio.sleep(random.uniform(0.005, 0.02) * attempt)  # noqa: S311  no secret
        async with self.transaction() as session:
            return await work(session)

    async def _checked_connection(self) -> AsyncConnection:
        """Return a pinged connection, or time out.

        Closing a connection to a hanging server takes seconds, so abandoned ones are closed in the background.
        """
        opening = asyncio.create_task(self._open())
        try:
            await asyncio.wait({opening}, timeout=self._connector.timeout_seconds(self._address))
            if not opening.done():
                self._on_timeout()
                raise TimeoutError("timeout while connecting")
            return opening.result()
        except asyncio.CancelledError:
            if opening.done() and not opening.cancelled() and opening.exception() is None:
                self._run_in_background(
                    asyncio.create_task(opening.result().close())
                )  # connected just as the caller was cancelled
            raise
        finally:
            if not opening.done():
                self._run_in_background(opening)
                opening.cancel()

    def _run_in_background(self, task: asyncio.Task[Any]) -> None:
        """Let a task finish in the background; `close` waits for it."""
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _open(self) -> AsyncConnection:
        return await self.engine.connect()  # the pool pings before it returns a connection

    async def ping(self) -> None:
        """Run a trivial statement.

        Raises:
            DatabaseUnavailable: as for `transaction`.
        """
        async with self.transaction() as session:
            await session.execute(text("SELECT 1"))

    async def close(self) -> None:
        if self._measurement is not None:
            self._measurement.cancel()
        await self.reads.close()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self.engine.dispose()


def _disable_statement_cache(connection: Any, _record: Any) -> None:
    """Disable SQLAlchemy's prepared statements behind a pooler that does not track them."""
    pooling = connection.driver_connection.pooling
    if pooling is not None and pooling.pooled and not pooling.prepares:
        connection._prepared_statement_cache = None  # noqa: SLF001  SQLAlchemy has no public way


def is_unavailable(error: BaseException) -> bool:
    """Whether an error is temporary unavailability rather than a rejected statement."""
    if isinstance(error, exc.TimeoutError | OSError | TimeoutError):
        return True
    if isinstance(error, exc.DBAPIError) and error.connection_invalidated:
        return True
    state = sqlstate(error)
    if state is not None:
        return bool(_UNAVAILABLE.match(state))
    return isinstance(error, _LOST) or isinstance(getattr(error, "__cause__", None), OSError | TimeoutError)


def sqlstate(error: BaseException | None) -> str | None:
    """Return PostgreSQL's SQLSTATE of an error, also one wrapped by SQLAlchemy."""
    for candidate in (getattr(error, "orig", None), error):
        state = getattr(candidate, "sqlstate", None)
        if isinstance(state, str):
            return state
    return None


def violated_constraint(error: exc.IntegrityError) -> str | None:
    """Return the name of the violated constraint, such as `uq_teams_name`."""
    name = getattr(getattr(error.orig, "__cause__", None), "constraint_name", None)
    return name if isinstance(name, str) else None
