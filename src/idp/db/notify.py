"""The change listener: a connection that LISTENs for changes, and the lease that proves delivery (rule 5).

Every 250 ms a heartbeat (a nonce) is sent by NOTIFY on the pool that reads verdicts; it must arrive on the listening
connection. PostgreSQL delivers notifications in commit order, so when a heartbeat arrives, every change committed
before it was sent has arrived. The lease lasts 750 ms from the *sending*.
"""

import asyncio
import contextlib
import itertools
import secrets
from typing import Any

import asyncpg
import structlog

from idp.db.change_source import LEASE_SECONDS, ChangeSource, boottime
from idp.db.changes import Changes
from idp.db.engine import Database
from idp.db.installation import read_channel
from idp.db.snapshot import INSTANCE, STAMP, Stamp
from idp.errors import DatabaseUnavailable

log = structlog.get_logger("idp.db.notify")

HEARTBEAT_SECONDS = 0.25
_SILENCE_SECONDS = 2.0  # without a heartbeat the connection is reopened
_RETRY_SECONDS = 0.25
_CATCH_UP_SECONDS = 0.5
_NOTIFY = (
    f"SELECT pg_notify($1, $2), {INSTANCE} AS instance, pg_snapshot_xmax(pg_current_snapshot())::text AS following"
)


class ChangeListener(ChangeSource):
    """Receives change notifications and holds the lease.

    Args:
        database: its pool sends heartbeats; its direct connection listens.
        floor_seconds: interval of newer floors, which bounds the list of changes.
    """

    def __init__(self, database: Database, *, floor_seconds: float) -> None:
        super().__init__("change listener", self._listen, self._send_heartbeats)
        self.changes = Changes()
        self.lease_until = 0.0
        self._database = database
        self._floor_seconds = max(1.0, floor_seconds)
        self._heartbeat_channel = f"idp_pulse_{secrets.token_hex(8)}"
        self._heartbeats: dict[str, float] = {}
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._numbers = itertools.count(1)
        self._listening = False
        self._instance_changed = False  # the pool's database instance differs from the one that is listened to

    async def catch_up(self) -> None:
        """Send a heartbeat and wait for it; see `ChangeSource`."""
        if not self._listening or not self.lease_is_valid:
            return
        nonce = self._nonce()
        received = self._waiting[nonce] = asyncio.get_running_loop().create_future()
        with contextlib.suppress(DatabaseUnavailable, TimeoutError):
            async with asyncio.timeout(_CATCH_UP_SECONDS):
                await self._send(nonce)
                await received
        self._waiting.pop(nonce, None)

    # --- listening ---------------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        warned = False
        while True:
            try:
                await self._listen_once()
                warned = False
            except (
                DatabaseUnavailable,
                OSError,
                asyncpg.PostgresError,
                asyncpg.InterfaceError,
                asyncpg.InternalClientError,
            ) as error:
                if not warned:
                    log.warning("not listening for changes: verdict cache bypassed", error=type(error).__name__)
                warned = True
            await asyncio.sleep(_RETRY_SECONDS)

    async def _listen_once(self) -> None:
        connection = await self._database.connect_directly()
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _connection: self._mark_disconnected(lost))
        try:
            self._instance_changed = False
            self.changes.reset()
            # The tables' triggers notify this channel (migration 0004), whose name is secret.
            await connection.add_listener(await read_channel(connection), self._on_change)
            await connection.add_listener(self._heartbeat_channel, self._on_heartbeat)
            self.changes.set_first_floor(await _stamp(connection))
            self._listening = True
            await self._watch_connection(connection, lost)
        finally:
            self._mark_disconnected(lost)
            connection.terminate()

    async def _watch_connection(self, connection: Any, lost: asyncio.Event) -> None:
        """Keep listening and renew the floor; raise when the connection is lost or silent."""
        began = floor_taken_at = boottime()
        while not lost.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SILENCE_SECONDS / 4):
                    await lost.wait()
            if not self.changes.has_floor:
                raise ConnectionResetError("the pool reads from another database than the listener's")
            now = boottime()
            if now - max(began, self.lease_until - LEASE_SECONDS) > _SILENCE_SECONDS:
                raise TimeoutError("no heartbeat arrived")
            if self._instance_changed:
                raise ConnectionResetError("the database instance changed")
            if now - floor_taken_at > self._floor_seconds or self.changes.full:
                self.changes.begin_next_floor()
                self.changes.raise_floor(await _stamp(connection))
                floor_taken_at = now
        raise ConnectionResetError("the listener's connection was lost")

    def _mark_disconnected(self, lost: asyncio.Event) -> None:
        if lost.is_set():
            return
        self._listening = False
        self.lease_until = 0.0
        self._heartbeats.clear()  # a heartbeat for the old connection proves nothing about the next one
        lost.set()

    def _on_change(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        transaction, _, what = str(payload).partition(" ")
        if transaction.isascii() and transaction.isdigit():  # any other payload is not ours
            self.changes.record_change(what, int(transaction))

    def _on_heartbeat(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        nonce = str(payload)
        sent = self._heartbeats.pop(nonce, None)
        if sent is not None:
            self.lease_until = max(self.lease_until, sent + LEASE_SECONDS)
        waiting = self._waiting.get(nonce)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    # --- heartbeats --------------------------------------------------------------------------------------------------

    async def _send_heartbeats(self) -> None:
        while True:
            if self._listening:
                nonce = self._nonce()
                self._heartbeats = {nonce: boottime(), **dict(itertools.islice(self._heartbeats.items(), 3))}
                with contextlib.suppress(DatabaseUnavailable):
                    instance = await self._send(nonce)
                    if self._listening and not self.changes.is_of(instance):
                        self._instance_changed = True
            await asyncio.sleep(HEARTBEAT_SECONDS if self._listening else HEARTBEAT_SECONDS / 10)

    async def _send(self, nonce: str) -> str:
        version_before = self.changes.version
        row = await self._database.reads.fetchrow(_NOTIFY, self._heartbeat_channel, nonce)
        if self.changes.is_of(row["instance"]):
            self.changes.discard_forged_notifications(version_before, int(row["following"]))
        return str(row["instance"])

    def _nonce(self) -> str:
        return str(next(self._numbers))


async def _stamp(connection: Any) -> Stamp:
    row = await connection.fetchrow(f"SELECT {STAMP}", timeout=1.0)
    return Stamp.parse(row["instance"], row["snapshot"])
