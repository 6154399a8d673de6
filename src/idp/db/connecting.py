"""Open connections: session settings, statement poolers, keepalives, error classification.

The startup packet contains only `application_name`, because statement poolers refuse other parameters. A direct
connection gets its session settings right after connecting. Behind a pooler (PgBouncer in transaction mode) every
transaction begins with its settings, in the same message, and named prepared statements are used only if the pooler
tracks them (decision 0028).
"""

import asyncio
import secrets
import socket
import ssl
import time
from typing import Any

import asyncpg
import structlog

from idp.db.address import Address, Keepalive
from idp.db.mistakes import mistake_of
from idp.errors import DatabaseUnavailable
from idp.settings_schema import Database as DatabaseSettings

log = structlog.get_logger("idp.db")

_IDLE_SECONDS = 5.0  # a longer idle connection must answer a ping before use
_PING_SECONDS = 0.3
_CLOSE_SECONDS = 2.0
_LOG_INTERVAL_SECONDS = 1.0  # the same error is logged once in this time
_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE NOT DEFERRABLE;"
_PREPARED_STATEMENTS = (
    "SELECT count(*) FILTER (WHERE name = $1)::int AS ours, count(*)::int AS known FROM pg_prepared_statements"
)


class Pooling:
    """Whether a pooler is between us and the server, and whether it tracks prepared statements."""

    def __init__(self, *, pooled: bool, prepares: bool) -> None:
        self.pooled = pooled
        self.prepares = prepares


class Connection(asyncpg.Connection):
    """A connection with explicit transaction settings; an idle one that fails a ping counts as lost."""

    prelude: str | None = None
    pooling: Pooling | None = None
    answered_at = 0.0

    @property
    def is_idle(self) -> bool:
        """Whether it was idle for so long that it may be dead."""
        return time.monotonic() - self.answered_at > _IDLE_SECONDS

    def mark_answered(self) -> None:
        """Record that the server has just answered."""
        self.answered_at = time.monotonic()

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:  # noqa: ASYNC109
        """Run a statement; behind a pooler, BEGIN includes the session settings."""
        if query.startswith("BEGIN"):
            if self.is_idle:
                await self.check()
            if self.prelude is not None:
                query = self.prelude
        status = await super().execute(query, *args, timeout=timeout)
        self.answered_at = time.monotonic()
        return str(status)

    async def check(self) -> None:
        """Ping the server.

        Raises:
            InterfaceError: no answer; the connection is closed.
        """
        try:
            async with asyncio.timeout(_PING_SECONDS):
                await super().execute("SELECT 1")
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
            self.terminate()
            raise asyncpg.InterfaceError("connection is closed") from None
        self.answered_at = time.monotonic()

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Close the connection, with a short timeout."""
        if self.is_idle:
            self.terminate()
        try:
            await super().close(timeout=min(timeout or _CLOSE_SECONDS, _CLOSE_SECONDS))
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
            self.terminate()

    async def prepare(self, query: str, *, name: str | None = None, **options: Any) -> Any:
        """Prepare a statement, unnamed if the pooler does not track names."""
        if self.pooling is not None and self.pooling.pooled and not self.pooling.prepares and name is None:
            name = ""
        return await super().prepare(query, name=name, **options)

    async def set_type_codec(self, typename: str, **options: Any) -> None:
        """Set a codec; its queries run on one server even behind a pooler."""
        if self.pooling is None or not self.pooling.pooled:
            return await super().set_type_codec(typename, **options)
        async with self.transaction():
            return await super().set_type_codec(typename, **options)


class Connector:
    """Opens connections to one database.

    Args:
        settings: limits in seconds.
        search_path: only for schema comparison; our statements name the schema.
    """

    def __init__(self, settings: DatabaseSettings, *, search_path: str | None = None) -> None:
        self._settings = settings
        self._search_path = search_path or "public"
        self._pooling: dict[str, Pooling] = {}
        self._probing = asyncio.Lock()
        self._connect_seconds: dict[str, float] = {}  # recent connection time in seconds, by URL

    def timeout_seconds(self, address: Address) -> float:
        """Return the timeout for a connection (seconds): the pool timeout plus twice the recent connection time."""
        return self._settings.pool_timeout_seconds + min(
            2 * self._connect_seconds.get(address.dsn, 0.0), self._settings.connect_timeout_seconds
        )

    async def open(self, address: Address) -> Connection:
        """Open a configured connection.

        Raises:
            DatabaseUnavailable: connecting failed; `mistake` names a configuration error.
        """
        try:
            pooling = self._pooling.get(address.dsn) or await self._probe(address)
            connection = await self._connect(address, pooling)
            await self._set_up(connection, pooling)
        except (
            OSError,
            TimeoutError,
            ssl.SSLError,
            asyncpg.PostgresError,
            asyncpg.InterfaceError,
            asyncpg.InternalClientError,
        ) as error:
            self._connect_seconds.pop(address.dsn, None)
            self._pooling.pop(address.dsn, None)
            raise unavailable(error) from error
        return connection

    async def measure(self, address: Address) -> None:
        """Measure the time to open a connection; errors are not reported here."""
        began = time.monotonic()
        try:
            connection = await self._connect(address, Pooling(pooled=True, prepares=False))
        except (
            OSError,
            TimeoutError,
            ssl.SSLError,
            asyncpg.PostgresError,
            asyncpg.InterfaceError,
            asyncpg.InternalClientError,
        ):
            self._connect_seconds.pop(address.dsn, None)
        else:
            self._connect_seconds[address.dsn] = time.monotonic() - began
            connection.terminate()

    async def _connect(self, address: Address, pooling: Pooling) -> Connection:
        began = time.monotonic()
        connection: Connection = await asyncpg.connect(
            address.dsn,
            timeout=address.connect_timeout or self._settings.connect_timeout_seconds,
            command_timeout=self._settings.statement_timeout_seconds + 1,
            connection_class=Connection,
            server_settings={"application_name": address.application_name},
            statement_cache_size=100 if pooling.prepares else 0,
        )
        self._connect_seconds[address.dsn] = time.monotonic() - began
        connection.answered_at = time.monotonic()
        _keep_alive(connection, address.keepalive)
        return connection

    async def _probe(self, address: Address) -> Pooling:
        """Detect a pooler, once per URL, on a temporary connection."""
        async with self._probing:
            known = self._pooling.get(address.dsn)
            if known is not None:
                return known
            connection = await self._connect(address, Pooling(pooled=True, prepares=False))
            try:
                pooling = self._pooling[address.dsn] = await _detect_pooling(connection)
            finally:
                connection.terminate()
            if pooling.pooled:
                log.info("the database is behind a statement pooler", prepared_statements=pooling.prepares)
            return pooling

    async def _set_up(self, connection: Connection, pooling: Pooling) -> None:
        connection.pooling = pooling
        wanted = self._session_settings(connection)
        if pooling.pooled:
            connection.prelude = _BEGIN + "".join(f"SET LOCAL {name} = {value};" for name, value in wanted.items())
            return
        session = {
            **wanted,
            "default_transaction_isolation": "'read committed'",
            "default_transaction_read_only": "off",
            "default_transaction_deferrable": "off",
        }
        await connection.execute("".join(f"SET SESSION {name} = {value};" for name, value in session.items()))

    def _session_settings(self, connection: Connection) -> dict[str, str]:
        """Return the session settings, regardless of ALTER ROLE, ALTER DATABASE or the server's configuration."""
        milliseconds = str(int(self._settings.statement_timeout_seconds * 1000))
        wanted = {
            "statement_timeout": milliseconds,
            "idle_in_transaction_session_timeout": milliseconds,
            "lock_timeout": "0",
            "idle_session_timeout": "0",  # would close idle connections and the listener
            "timezone": "'UTC'",
            "search_path": self._search_path,
            "row_security": "on",
            "transform_null_equals": "off",
            "array_nulls": "on",
            "standard_conforming_strings": "on",
            "bytea_output": "'hex'",
        }
        version = connection.get_server_version().major
        if version >= 17:
            wanted["transaction_timeout"] = "0"
        return wanted


async def _detect_pooling(connection: Connection) -> Pooling:
    """Compare the backend process id with the one reported at connect; a pooler reports its own."""
    async with connection.transaction():
        statement = await connection.prepare("SELECT pg_backend_pid()", name="")
        if await statement.fetchval() == connection.get_server_pid():
            return Pooling(pooled=False, prepares=True)
        name = f"idp_{secrets.token_hex(6)}"
        statement = await connection.prepare(_PREPARED_STATEMENTS, name=name)
        row = await statement.fetchrow(name)
    # A pooler that tracks prepared statements renames them.
    return Pooling(pooled=True, prepares=row["ours"] == 0 and row["known"] > 0)


def _keep_alive(connection: Connection, wanted: Keepalive | None) -> None:
    transport = getattr(connection, "_transport", None)  # asyncpg has no public way
    sock = transport.get_extra_info("socket") if transport is not None else None
    if sock is None or wanted is None or sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", wanted.idle),
        ("TCP_KEEPINTVL", wanted.interval),
        ("TCP_KEEPCNT", wanted.probes),
        ("TCP_USER_TIMEOUT", wanted.user_timeout),
    ):
        option = getattr(socket, name, None)
        if option is not None and value > 0:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


_logged: dict[str, float] = {}  # last logged reason and time


def unavailable(error: BaseException) -> DatabaseUnavailable:
    """Log a database error and return it as DatabaseUnavailable, with the configuration error if it is one."""
    mistake = mistake_of(error)
    reason = mistake or str(error).split("\n")[0][:200]
    now = time.monotonic()
    if now - _logged.get(reason, -_LOG_INTERVAL_SECONDS) >= _LOG_INTERVAL_SECONDS:
        _logged.clear()
        _logged[reason] = now
        log.warning("database unavailable", error=type(error).__name__, reason=reason, mistake=mistake is not None)
    refusal = DatabaseUnavailable()
    refusal.mistake = mistake
    return refusal
