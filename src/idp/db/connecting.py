"""Opening connections: what the session must be whatever the role's defaults say, poolers, keepalives, honest errors.

Nothing but `application_name` goes into the startup packet, because statement poolers refuse the rest. On a connection
of our own the session is set right after connecting. Behind a pooler (PgBouncer in transaction mode) a session belongs
to nobody, so every transaction begins with what it needs, in the same message, and statements are prepared under names
only where the pooler keeps track of them (decision 0028).
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

_IDLE_SECONDS = 5.0  # a connection that rested for longer has to answer before it is used
_PING_SECONDS = 0.3
_GOODBYE_SECONDS = 2.0
_SILENT_SECONDS = 1.0  # the same trouble is logged once in this time
_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE NOT DEFERRABLE;"
_STATEMENTS_KNOWN = (
    "SELECT count(*) FILTER (WHERE name = $1)::int AS ours, count(*)::int AS known FROM pg_prepared_statements"
)


class Pooling:
    """What stands between us and the server: nothing, or a pooler, which may keep track of prepared statements."""

    def __init__(self, *, pooled: bool, prepares: bool) -> None:
        self.pooled = pooled
        self.prepares = prepares


class Connection(asyncpg.Connection):
    """A connection whose transactions are what we need; one that rested and does not answer counts as lost."""

    prelude: str | None = None
    pooling: Pooling | None = None
    answered = 0.0

    @property
    def rested(self) -> bool:
        """Whether it was not used for so long that it may be dead without anybody knowing."""
        return time.monotonic() - self.answered > _IDLE_SECONDS

    def answered_now(self) -> None:
        """Note that the server has just answered."""
        self.answered = time.monotonic()

    async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:  # noqa: ASYNC109
        """Run a statement; BEGIN brings along what the transaction needs, where the session cannot hold it."""
        if query.startswith("BEGIN"):
            if self.rested:
                await self.check()
            if self.prelude is not None:
                query = self.prelude
        status = await super().execute(query, *args, timeout=timeout)
        self.answered = time.monotonic()
        return str(status)

    async def check(self) -> None:
        """Ask for a sign of life.

        Raises:
            InterfaceError: none came, and the connection is closed now.
        """
        try:
            async with asyncio.timeout(_PING_SECONDS):
                await super().execute("SELECT 1")
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            self.terminate()
            raise asyncpg.InterfaceError("connection is closed") from None
        self.answered = time.monotonic()

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Say goodbye, and do not wait for long whether anybody hears it."""
        if self.rested:
            self.terminate()
        try:
            await super().close(timeout=min(timeout or _GOODBYE_SECONDS, _GOODBYE_SECONDS))
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            self.terminate()

    async def prepare(self, query: str, *, name: str | None = None, **options: Any) -> Any:
        """Prepare a statement, without a name where the pooler would lose it."""
        if self.pooling is not None and self.pooling.pooled and not self.pooling.prepares and name is None:
            name = ""
        return await super().prepare(query, name=name, **options)

    async def set_type_codec(self, typename: str, **options: Any) -> None:
        """Set a codec; what is asked of the server for it is asked on one server, also behind a pooler."""
        if self.pooling is None or not self.pooling.pooled:
            return await super().set_type_codec(typename, **options)
        async with self.transaction():
            return await super().set_type_codec(typename, **options)


class Connector:
    """Opens connections for one database.

    Args:
        settings: limits in seconds.
        search_path: only for comparing schemas; our statements name theirs.
    """

    def __init__(self, settings: DatabaseSettings, *, search_path: str | None = None) -> None:
        self._settings = settings
        self._search_path = search_path or "public"
        self._pooling: dict[str, Pooling] = {}
        self._probing = asyncio.Lock()
        self._took: dict[str, float] = {}  # seconds that opening a connection took lately, by address

    def patience(self, address: Address) -> float:
        """Return how long a request waits for a connection: its own bound, and twice what opening one takes."""
        return self._settings.pool_timeout_seconds + min(
            2 * self._took.get(address.dsn, 0.0), self._settings.connect_timeout_seconds
        )

    async def open(self, address: Address) -> Connection:
        """Open a connection that is set up.

        Raises:
            DatabaseUnavailable: it cannot be had, with a reason where that is somebody's mistake.
        """
        try:
            pooling = self._pooling.get(address.dsn) or await self._probe(address)
            connection = await self._connect(address, pooling)
            await self._set_up(connection, pooling)
        except (OSError, TimeoutError, ssl.SSLError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            self._took.pop(address.dsn, None)
            self._pooling.pop(address.dsn, None)
            raise unavailable(error) from error
        return connection

    async def measure(self, address: Address) -> None:
        """Open and close a connection, to learn how long that takes; what goes wrong is somebody else's to tell."""
        began = time.monotonic()
        try:
            connection = await self._connect(address, Pooling(pooled=True, prepares=False))
        except (OSError, TimeoutError, ssl.SSLError, asyncpg.PostgresError, asyncpg.InterfaceError):
            self._took.pop(address.dsn, None)
        else:
            self._took[address.dsn] = time.monotonic() - began
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
        self._took[address.dsn] = time.monotonic() - began
        connection.answered = time.monotonic()
        _keep_alive(connection, address.keepalive)
        return connection

    async def _probe(self, address: Address) -> Pooling:
        """Find out, once, whether a pooler stands in between, on a connection that is closed again."""
        async with self._probing:
            known = self._pooling.get(address.dsn)
            if known is not None:
                return known
            connection = await self._connect(address, Pooling(pooled=True, prepares=False))
            try:
                found = self._pooling[address.dsn] = await _what_is_between(connection)
            finally:
                connection.terminate()
            if found.pooled:
                log.info("the database is behind a statement pooler", prepared_statements=found.prepares)
            return found

    async def _set_up(self, connection: Connection, pooling: Pooling) -> None:
        connection.pooling = pooling
        wanted = self._wanted(connection)
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

    def _wanted(self, connection: Connection) -> dict[str, str]:
        """Return what a session must be, whatever ALTER ROLE, ALTER DATABASE or the server's file says."""
        milliseconds = str(int(self._settings.statement_timeout_seconds * 1000))
        wanted = {
            "statement_timeout": milliseconds,
            "idle_in_transaction_session_timeout": milliseconds,
            "lock_timeout": "0",
            "idle_session_timeout": "0",  # resting connections, and the one that listens, would be cut
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


async def _what_is_between(connection: Connection) -> Pooling:
    """Compare the server's process with the one the connection was told: a pooler makes up its own."""
    async with connection.transaction():
        statement = await connection.prepare("SELECT pg_backend_pid()", name="")
        if await statement.fetchval() == connection.get_server_pid():
            return Pooling(pooled=False, prepares=True)
        name = f"idp_{secrets.token_hex(6)}"
        statement = await connection.prepare(_STATEMENTS_KNOWN, name=name)
        row = await statement.fetchrow(name)
    # A pooler that keeps track of prepared statements gives them names of its own.
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


_told: dict[str, float] = {}  # what was logged last, and when


def unavailable(error: BaseException) -> DatabaseUnavailable:
    """Return the refusal for what went wrong, with the mistake behind it where there is one; log it."""
    mistake = mistake_of(error)
    reason = mistake or str(error).split("\n")[0][:200]
    now = time.monotonic()
    if now - _told.get(reason, -_SILENT_SECONDS) >= _SILENT_SECONDS:
        _told.clear()
        _told[reason] = now
        log.warning("database unavailable", error=type(error).__name__, reason=reason, mistake=mistake is not None)
    refusal = DatabaseUnavailable()
    refusal.mistake = mistake
    return refusal
