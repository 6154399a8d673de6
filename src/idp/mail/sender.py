"""The sender: takes due mails, sends them outside any transaction, and records the outcome.

Several processes may run it. Taking a mail moves its `due_at`, which is a lease: no other process takes it meanwhile,
and after a crash another one does. The lease is renewed while the server works. A delivered mail is not sent again by
this process, even if the database was unavailable. So a mail is sent at least once, and twice only if a process dies
between the final dot and the commit; the Message-ID is then the same. One process cleans up, the one with the lease of
`db/lease.py`.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol
from uuid import UUID

import structlog
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncSession

from idp import clock, tracing
from idp.background import BackgroundService
from idp.db.engine import Database
from idp.db.lease import Lease
from idp.errors import DatabaseUnavailable
from idp.mail.outbox import open_mail
from idp.mail.rendering import RenderedMail
from idp.mail.smtp import NotSent, Undeliverable
from idp.ops import metrics
from idp.ops.logging import describe
from idp.signing.sealing import Sealer

log = structlog.get_logger("idp.mail")

RETRY_SECONDS = (5, 30, 120, 600, 3600)  # the last one repeats
GIVE_UP_AFTER = timedelta(hours=24)
KEPT = timedelta(days=30)
LEASE = timedelta(seconds=180)  # renewed while a mail is being sent
_RENEW_SECONDS = 45.0
_RECORD_RETRY_SECONDS = 2.0
_POLL_SECONDS = 1.0  # for mails of other processes and retries; own mails wake the sender
_UNAVAILABLE_SECONDS = 5.0
_CLEAN_UP_SECONDS = 15.0
_MAX_CONCURRENT = 16  # concurrent connections; a hanging one occupies its place for minutes
_STOP_SECONDS = 3.0

_TAKE = text("""
WITH due AS MATERIALIZED (
    SELECT id FROM idp.mail_outbox
     WHERE due_at <= :now AND sent_at IS NULL AND failed_at IS NULL
     ORDER BY due_at LIMIT :limit FOR UPDATE SKIP LOCKED)
UPDATE idp.mail_outbox m SET due_at = :leased_until, attempts = m.attempts + 1 FROM due WHERE m.id = due.id
RETURNING m.id, m.template, m.sealed_message, m.created_at, m.attempts
""")
# `attempts` detects a lost lease: the next process incremented it.
_UNDER_LEASE = "WHERE id = :id AND attempts = :attempts AND sent_at IS NULL AND failed_at IS NULL"
_SENT = text(f"""
UPDATE idp.mail_outbox SET sent_at = :now, last_error = NULL,
       sealed_message = CASE WHEN :keep THEN sealed_message END {_UNDER_LEASE}
""")  # noqa: S608  our own text
_RENEW = text(f"UPDATE idp.mail_outbox SET due_at = :due {_UNDER_LEASE}")  # noqa: S608
_LATER = text(f"UPDATE idp.mail_outbox SET due_at = :due, last_error = :reason {_UNDER_LEASE}")  # noqa: S608
_FAILED = text(f"""
UPDATE idp.mail_outbox SET failed_at = :now, last_error = :reason,
       sealed_message = CASE WHEN :keep THEN sealed_message END {_UNDER_LEASE}
""")  # noqa: S608
_NEVER_TRIED = text("""
UPDATE idp.mail_outbox SET failed_at = :now, sealed_message = NULL, last_error = 'SMTP_HOST is not set'
 WHERE sent_at IS NULL AND failed_at IS NULL AND created_at < :before RETURNING template
""")
_DELETE_OLD = text("""
DELETE FROM idp.mail_outbox WHERE created_at < :before AND (sent_at IS NOT NULL OR failed_at IS NOT NULL)
""")
_PENDING = text("SELECT count(*) FROM idp.mail_outbox WHERE sent_at IS NULL AND failed_at IS NULL")


class Transport(Protocol):
    """Delivers mails; raises as `idp.mail.smtp`."""

    async def send(self, mail: RenderedMail, *, mail_id: UUID, written_at: datetime) -> None: ...


class Taken(NamedTuple):
    """A mail under our lease."""

    id: UUID
    template: str
    sealed_message: str | None
    created_at: datetime
    attempts: int


class MailSender(BackgroundService):
    """Sends the mails of the outbox in the background.

    Args:
        database: stores the outbox.
        sealer: opens the mails.
        posted: set when this process has written a mail.
        transport: None without an SMTP server: mails wait, and fail after a day.
        keeps_text: keep texts for the development mailbox; without a server mails count as delivered.
    """

    def __init__(
        self,
        database: Database,
        sealer: Sealer,
        posted: asyncio.Event,
        *,
        transport: Transport | None,
        keeps_text: bool = False,
    ) -> None:
        sends = transport is not None or keeps_text
        super().__init__("mail sender", self._clean_up_periodically, *([self._run] if sends else []))
        self._database = database
        self._sealer = sealer
        self._posted = posted
        self._transport = transport
        self._keeps_text = keeps_text
        self._cleaning = Lease("mail clean-up", seconds=4 * _CLEAN_UP_SECONDS)
        self._sending: set[asyncio.Task[None]] = set()
        self._delivered: set[UUID] = set()  # delivered, but not recorded in the outbox yet

    def start(self) -> None:
        """Start sending in the background."""
        if self._transport is None and not self._keeps_text:
            log.warning("SMTP_HOST is not set: mails wait in the outbox, and fail after a day")
        super().start()

    async def stop(self) -> None:
        """Stop taking mails, and wait briefly for running ones; the rest is sent after its lease."""
        await super().stop()
        if self._sending:
            _, unfinished = await asyncio.wait(self._sending, timeout=_STOP_SECONDS)
            for task in unfinished:
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)
        await self._cleaning.release(self._database)

    # --- due mails ---------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            self._posted.clear()
            pause = _POLL_SECONDS
            try:
                while taken := await self._take(_MAX_CONCURRENT - len(self._sending)):
                    for mail in taken:
                        self._start_sending(mail)
            except DatabaseUnavailable:
                pause = _UNAVAILABLE_SECONDS
            except Exception as error:  # noqa: BLE001  no error of a mail may stop the sender
                log.error("taking mails failed", **describe(error))  # noqa: TRY400
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._posted.wait()

    async def _take(self, limit: int) -> Sequence[Taken]:
        if limit <= 0:
            return []
        now = clock.now()
        async with self._database.transaction() as session:
            rows = await session.execute(_TAKE, {"now": now, "leased_until": now + LEASE, "limit": limit})
            return [Taken(*row) for row in rows]

    def _start_sending(self, mail: Taken) -> None:
        task = asyncio.create_task(self._deliver_and_record(mail))
        self._sending.add(task)
        task.add_done_callback(self._finish)

    def _finish(self, task: asyncio.Task[None]) -> None:
        self._sending.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("recording the outcome of a mail failed", **describe(error))
        self._posted.set()  # a connection is free

    # --- one mail ----------------------------------------------------------------------------------------------------

    async def _deliver_and_record(self, mail: Taken) -> None:
        """Send a mail and record the outcome."""
        renewing = asyncio.create_task(self._renew(mail))
        try:
            await self._deliver_under_lease(mail)
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)

    async def _renew(self, mail: Taken) -> None:
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            await self._record_outcome(_RENEW, mail, due=clock.now() + LEASE)

    async def _deliver_under_lease(self, mail: Taken) -> None:
        if mail.id in self._delivered:  # taken again, because the delivery could not be recorded
            await self._record_delivery(mail)
            return
        try:
            await self._send(mail)
        except Undeliverable as error:
            await self._fail(mail, str(error))
        except NotSent as error:
            await self._defer(mail, str(error))
        except Exception as error:  # noqa: BLE001  one mail must not stop the others
            log.error("sending a mail failed", mail=str(mail.id), template=mail.template, **describe(error))  # noqa: TRY400
            await self._defer(mail, type(error).__name__)
        else:
            metrics.count_mail(outcome="sent")
            self._delivered.add(mail.id)
            await self._record_delivery(mail)

    async def _record_delivery(self, mail: Taken) -> None:
        """Record the delivery; retry while the database is unavailable."""
        until = clock.now() + LEASE
        while not await self._record_outcome(_SENT, mail, now=clock.now(), keep=self._keeps_text):
            if clock.now() > until:
                return  # the lease ends; this process takes it again and knows that it was delivered
            await asyncio.sleep(_RECORD_RETRY_SECONDS)
        self._delivered.discard(mail.id)

    async def _send(self, mail: Taken) -> None:
        opened = open_mail(self._sealer, mail.sealed_message) if mail.sealed_message else None
        if opened is None:
            raise Undeliverable("no live root secret decrypts it")
        if self._transport is not None:
            with tracing.background("mail send"):
                await self._transport.send(opened, mail_id=mail.id, written_at=mail.created_at)

    async def _defer(self, mail: Taken, reason: str) -> None:
        due = clock.now() + delay(mail.attempts)
        if due > mail.created_at + GIVE_UP_AFTER:
            await self._fail(mail, f"given up after {mail.attempts} attempts: {reason}")
            return
        log.warning("mail put off", mail=str(mail.id), template=mail.template, attempt=mail.attempts, reason=reason)
        metrics.count_mail(outcome="put_off")
        await self._record_outcome(_LATER, mail, due=due, reason=reason)

    async def _fail(self, mail: Taken, reason: str) -> None:
        log.error("mail failed", mail=str(mail.id), template=mail.template, attempt=mail.attempts, reason=reason)
        metrics.count_mail(outcome="failed")
        await self._record_outcome(_FAILED, mail, now=clock.now(), reason=reason, keep=self._keeps_text)

    async def _record_outcome(self, statement: TextClause, mail: Taken, **values: object) -> bool:
        """Record the outcome of a mail; False while PostgreSQL is unavailable: its lease ends and it is retried."""
        ours = {"id": mail.id, "attempts": mail.attempts}
        try:
            async with self._database.transaction() as session:
                await session.execute(statement, values | ours)
        except DatabaseUnavailable:
            return False
        return True

    # --- deletion ----------------------------------------------------------------------------------------------------

    async def _clean_up_periodically(self) -> None:
        while True:
            try:
                await self.clean_up()
            except DatabaseUnavailable:
                pass
            except Exception as error:  # noqa: BLE001
                log.error("cleaning up the outbox failed", **describe(error))  # noqa: TRY400
            await asyncio.sleep(_CLEAN_UP_SECONDS)

    async def clean_up(self) -> None:
        """Fail mails that waited too long, and delete old ones, if no other process does; count waiting ones."""
        async with self._database.transaction() as session:
            if await self._cleaning.take(session) is not None:
                await self._delete_old(session)
            metrics.set_mail_pending((await session.execute(_PENDING)).scalar_one())

    async def _delete_old(self, session: AsyncSession) -> None:
        now = clock.now()
        if self._transport is None and not self._keeps_text:
            for (template,) in await session.execute(_NEVER_TRIED, {"now": now, "before": now - GIVE_UP_AFTER}):
                log.error("mail failed", template=template, reason="SMTP_HOST is not set")
                metrics.count_mail(outcome="failed")
        await session.execute(_DELETE_OLD, {"before": now - KEPT})


def delay(attempts: int) -> timedelta:
    """Return the delay after this many attempts: exponential, with jitter."""
    seconds = RETRY_SECONDS[min(attempts, len(RETRY_SECONDS)) - 1]
    return timedelta(seconds=seconds * secrets.SystemRandom().uniform(0.75, 1.25))
