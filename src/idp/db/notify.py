"""The ear: one connection that LISTENs for changes, and the lease that proves it hears (rule 5).

A nonce goes out by NOTIFY every quarter of a second on the pool that verdicts are read from, and must come back on the
listener. PostgreSQL delivers notifications in the order of the commits, so once a nonce is back, everything committed
before it was sent has been heard. From its *sending* on, the lease runs for 750 ms.
"""

import asyncio
import contextlib
import itertools
import secrets
import time
from typing import Any

import asyncpg
import structlog

from idp.background import BackgroundService
from idp.db.changes import Changes
from idp.db.engine import Database
from idp.db.installation import read_channel
from idp.db.snapshot import INSTANCE, STAMP, Stamp
from idp.errors import DatabaseUnavailable

log = structlog.get_logger("idp.db.notify")

PULSE_SECONDS = 0.25
LEASE_SECONDS = 0.75
_SILENCE_SECONDS = 2.0  # without a pulse heard, the connection is opened anew
_RETRY_SECONDS = 0.25
_CATCH_UP_SECONDS = 0.5
_NOTIFY = (
    f"SELECT pg_notify($1, $2), {INSTANCE} AS instance, pg_snapshot_xmax(pg_current_snapshot())::text AS following"
)
# Goes on while the machine sleeps, where there is such a clock; macOS' monotonic clock does so too.
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boottime() -> float:
    """Return seconds of a clock that nobody sets and that runs on in a paused process and a sleeping machine."""
    return time.clock_gettime(_CLOCK)


class ChangeListener(BackgroundService):
    """Listens for changes.

    Args:
        database: its pool sends the pulse; its direct address is listened on.
        floor_seconds: how often a newer floor is taken, which bounds what is remembered of the changes heard.

    Attributes:
        changes: what was heard.
        lease_until: `boottime` until which cached verdicts may be used.
    """

    def __init__(self, database: Database, *, floor_seconds: float) -> None:
        super().__init__("change listener", self._listen, self._pulse)
        self.changes = Changes()
        self.lease_until = 0.0
        self._database = database
        self._floor_seconds = max(1.0, floor_seconds)
        self._pulse_channel = f"idp_pulse_{secrets.token_hex(8)}"
        self._pulses: dict[str, float] = {}
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._numbers = itertools.count(1)
        self._listening = False
        self._moved = False  # the pool's database is not the one that is listened to, or has another history by now

    @property
    def lease_is_valid(self) -> bool:
        """Whether the lease runs: whatever was committed 750 ms ago or earlier has been heard."""
        return boottime() < self.lease_until

    async def stop(self) -> None:
        """Stop listening: no cached verdict is used any more."""
        await super().stop()
        self.lease_until = 0.0

    async def catch_up(self) -> None:
        """Wait until this process has heard every change that was committed before the call.

        A deaf process uses no cached verdict, so there is nothing to wait for then.
        """
        if not self._listening or not self.lease_is_valid:
            return
        nonce = self._nonce()
        heard = self._waiting[nonce] = asyncio.get_running_loop().create_future()
        with contextlib.suppress(DatabaseUnavailable, TimeoutError):
            async with asyncio.timeout(_CATCH_UP_SECONDS):
                await self._send(nonce)
                await heard
        self._waiting.pop(nonce, None)

    # --- listening ---------------------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        warned = False
        while True:
            try:
                await self._listen_once()
                warned = False
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
                if not warned:
                    log.warning("not listening for changes: verdicts are read afresh", error=type(error).__name__)
                warned = True
            await asyncio.sleep(_RETRY_SECONDS)

    async def _listen_once(self) -> None:
        connection = await self._database.connect_directly()
        lost = asyncio.Event()
        connection.add_termination_listener(lambda _connection: self._mark_disconnected(lost))
        try:
            self._moved = False
            self.changes.reset()
            # Triggers of the tables announce there (migration 0004); the channel's name is known to nobody else.
            await connection.add_listener(await read_channel(connection), self._on_change)
            await connection.add_listener(self._pulse_channel, self._on_pulse)
            self.changes.set_first_floor(await _stamp(connection))
            self._listening = True
            await self._stay(connection, lost)
        finally:
            self._mark_disconnected(lost)
            connection.terminate()

    async def _stay(self, connection: Any, lost: asyncio.Event) -> None:
        """Keep listening; take a newer floor now and then; leave when the connection is lost or deaf."""
        began = floored = boottime()
        while not lost.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SILENCE_SECONDS / 4):
                    await lost.wait()
            if not self.changes.has_floor:
                raise ConnectionResetError("verdicts are read from another database than is listened to")
            now = boottime()
            if now - max(began, self.lease_until - LEASE_SECONDS) > _SILENCE_SECONDS:
                raise TimeoutError("no pulse came back")
            if self._moved:
                raise ConnectionResetError("another history of the database")
            if now - floored > self._floor_seconds or self.changes.full:
                self.changes.begin_next_floor()
                self.changes.raise_floor(await _stamp(connection))
                floored = now
        raise ConnectionResetError("the listener's connection was lost")

    def _mark_disconnected(self, lost: asyncio.Event) -> None:
        if lost.is_set():
            return
        self._listening = False
        self.lease_until = 0.0
        self._pulses.clear()  # a pulse that was sent to the old ear proves nothing about the next one
        lost.set()

    def _on_change(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        transaction, _, what = str(payload).partition(" ")
        if transaction.isascii() and transaction.isdigit():  # anything else is no announcement of ours
            self.changes.record_change(what, int(transaction))

    def _on_pulse(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        nonce = str(payload)
        sent = self._pulses.pop(nonce, None)
        if sent is not None:
            self.lease_until = max(self.lease_until, sent + LEASE_SECONDS)
        waiting = self._waiting.get(nonce)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    # --- the pulse ---------------------------------------------------------------------------------------------------

    async def _pulse(self) -> None:
        while True:
            if self._listening:
                nonce = self._nonce()
                self._pulses = {nonce: boottime(), **dict(itertools.islice(self._pulses.items(), 3))}
                with contextlib.suppress(DatabaseUnavailable):
                    instance = await self._send(nonce)
                    if self._listening and not self.changes.is_of(instance):
                        self._moved = True
            await asyncio.sleep(PULSE_SECONDS if self._listening else PULSE_SECONDS / 10)

    async def _send(self, nonce: str) -> str:
        heard_before = self.changes.version
        row = await self._database.reads.fetchrow(_NOTIFY, self._pulse_channel, nonce)
        if self.changes.is_of(row["instance"]):
            self.changes.discard_false_announcements(heard_before, int(row["following"]))
        return str(row["instance"])

    def _nonce(self) -> str:
        return str(next(self._numbers))


async def _stamp(connection: Any) -> Stamp:
    row = await connection.fetchrow(f"SELECT {STAMP}", timeout=1.0)
    return Stamp.parse(row["instance"], row["snapshot"])
