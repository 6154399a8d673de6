"""Database: a pool of connections, transactions that are written out, and an honest 503 when PostgreSQL is away."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import asyncpg
import structlog
from sqlalchemy import exc, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine

from idp.db.reads import Reads
from idp.errors import DatabaseUnavailable
from idp.settings import Secret
from idp.settings_schema import Database as DatabaseSettings

log = structlog.get_logger("idp.db")

# What Prisma and SQLAlchemy put into an address and PostgreSQL does not know. `schema` is where the old service's own
# tables are; ours have a schema of their own, so it is understood and not followed.
_FOREIGN_PARAMETERS = {
    "schema", "connection_limit", "pool_timeout", "pgbouncer", "connect_timeout", "socket_timeout",
    "statement_cache_size", "sslaccept", "sslidentity", "sslpassword", "channel_binding", "pool_size",
}  # fmt: skip
# SQLSTATE classes that say "not now" rather than "not so": connection, resources, operator, system, canceled.
_AWAY = re.compile(r"^(08|53|57|58|25006|55P03)")


# For hot reads beside the pool: they share statements, so a few are enough (`db/batch.py`).
_HOT_CONNECTIONS = 5


class DatabaseUrlError(ValueError):
    """DATABASE_URL is not an address of a PostgreSQL database."""


def normalise_url(url: str) -> str:
    """Return the address as asyncpg reads it.

    Args:
        url: `postgres://`, `postgresql://` or `postgresql+driver://`, with the parameters of libpq or of Prisma.

    Raises:
        DatabaseUrlError: another scheme, or no host to connect to.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise DatabaseUrlError(f"DATABASE_URL cannot be read: {error}.") from None
    if parts.scheme.partition("+")[0] not in {"postgres", "postgresql"}:
        raise DatabaseUrlError(
            f"DATABASE_URL starts with {parts.scheme or 'nothing'}://; put postgresql://user:password@host:5432/database."
        )
    query = [(k, v) for k, v in parse_qsl(parts.query, keep_blank_values=True) if k not in _FOREIGN_PARAMETERS]
    if not (parts.hostname or port or any(k == "host" for k, _ in query)):
        raise DatabaseUrlError("DATABASE_URL names no host; put postgresql://user:password@host:5432/database.")
    return urlunsplit(("postgresql", parts.netloc, parts.path, urlencode(query), ""))


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
        self._dsn = normalise_url(address.reveal())
        self._settings = settings
        self._search_path = {"search_path": search_path} if search_path else {}
        self.engine: AsyncEngine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self._connect,
            pool_size=settings.pool_size,
            max_overflow=settings.max_overflow,
            pool_timeout=settings.pool_timeout_seconds,
            pool_pre_ping=True,
            hide_parameters=True,  # an error must not quote a password hash
        )
        self.reads = Reads(
            lambda *_, **__: self._connect(), size=_HOT_CONNECTIONS, limit_seconds=settings.pool_timeout_seconds
        )
        self._abandoned: set[asyncio.Task[Any]] = set()

    async def connect_directly(self) -> Any:
        """Open a connection for LISTEN, past a statement pooler where `direct_url` names the way."""
        direct = self._settings.direct_url
        return await self._connect(normalise_url(direct.reveal()) if direct else None)

    async def _connect(self, dsn: str | None = None) -> Any:
        milliseconds = str(int(self._settings.statement_timeout_seconds * 1000))
        return await asyncpg.connect(
            dsn or self._dsn,
            timeout=self._settings.connect_timeout_seconds,
            command_timeout=self._settings.statement_timeout_seconds + 1,
            server_settings={
                "application_name": "idp",
                "statement_timeout": milliseconds,
                "idle_in_transaction_session_timeout": milliseconds,
                "timezone": "UTC",
                **self._search_path,
            },
        )

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
            log.warning("database unavailable", error=type(error).__name__, reason=str(error).split("\n")[0][:200])
            raise DatabaseUnavailable from error

    async def _answering_connection(self) -> AsyncConnection:
        """Return a connection that has just answered, or give up after `pool_timeout_seconds`.

        Ending a connection to a server that hangs takes seconds of its own, so what is given up ends in the background.
        """
        opening = asyncio.create_task(self._open())
        try:
            await asyncio.wait({opening}, timeout=self._settings.pool_timeout_seconds)
            if not opening.done():
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
        await self.reads.close()
        await asyncio.gather(*self._abandoned, return_exceptions=True)
        await self.engine.dispose()


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


def sqlstate(error: BaseException) -> str | None:
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
