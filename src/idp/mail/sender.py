"""The sender: takes mails that are due, sends them outside any transaction, and notes what came of it.

Several processes may run it. Taking a mail pushes its `due_at` ahead, which is a lease: nobody else takes it meanwhile,
and after a crash somebody takes it again. The lease is renewed for as long as the server takes, and what the server has
is not sent again by this process, even where the database was away then. So a mail is sent at least once, and
twice only where a process dies between the final dot and the commit; the Message-ID is the same then.
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

from idp import clock
from idp.background import BackgroundService
from idp.db.engine import Database
from idp.errors import DatabaseUnavailable
from idp.mail.outbox import open_mail
from idp.mail.rendering import RenderedMail
from idp.mail.smtp import NotSent, Undeliverable
from idp.ops import metrics
from idp.ops.logging import describe
from idp.signing.sealing import Sealer

log = structlog.get_logger("idp.mail")

RETRY_SECONDS = (5, 30, 120, 600, 3600)  # the last one again and again
GIVE_UP_AFTER = timedelta(hours=24)
KEPT = timedelta(days=30)
LEASE = timedelta(seconds=180)  # renewed while a mail is under way, which may take WHOLE_SECONDS
_RENEW_SECONDS = 45.0
_NOTE_AGAIN_SECONDS = 2.0
_POLL_SECONDS = 1.0  # for what other processes left, and for second tries; our own mails wake us
_AWAY_SECONDS = 5.0
_TIDY_SECONDS = 15.0
_AT_ONCE = 16  # connections to the server; one that hangs holds its place for minutes
_STOP_SECONDS = 3.0

_TAKE = text("""
WITH due AS MATERIALIZED (
    SELECT id FROM idp.mail_outbox
     WHERE due_at <= :now AND sent_at IS NULL AND failed_at IS NULL
     ORDER BY due_at LIMIT :most FOR UPDATE SKIP LOCKED)
UPDATE idp.mail_outbox m SET due_at = :leased_until, attempts = m.attempts + 1 FROM due WHERE m.id = due.id
RETURNING m.id, m.template, m.sealed_message, m.created_at, m.attempts
""")
# `attempts` says whether it is still ours: whoever took it after our lease ended counted on.
_OURS = "WHERE id = :id AND attempts = :attempts AND sent_at IS NULL AND failed_at IS NULL"
_SENT = text(f"""
UPDATE idp.mail_outbox SET sent_at = :now, last_error = NULL,
       sealed_message = CASE WHEN :keep THEN sealed_message END {_OURS}
""")  # noqa: S608  our own text
_RENEW = text(f"UPDATE idp.mail_outbox SET due_at = :due {_OURS}")  # noqa: S608
_LATER = text(f"UPDATE idp.mail_outbox SET due_at = :due, last_error = :reason {_OURS}")  # noqa: S608
_FAILED = text(f"""
UPDATE idp.mail_outbox SET failed_at = :now, last_error = :reason,
       sealed_message = CASE WHEN :keep THEN sealed_message END {_OURS}
""")  # noqa: S608
_NEVER_TRIED = text("""
UPDATE idp.mail_outbox SET failed_at = :now, sealed_message = NULL, last_error = 'SMTP_HOST is not set'
 WHERE sent_at IS NULL AND failed_at IS NULL AND created_at < :before RETURNING template
""")
_FORGET = text("""
DELETE FROM idp.mail_outbox WHERE created_at < :before AND (sent_at IS NOT NULL OR failed_at IS NOT NULL)
""")
_PENDING = text("SELECT count(*) FROM idp.mail_outbox WHERE sent_at IS NULL AND failed_at IS NULL")


class Transport(Protocol):
    """Takes mails to where they go; `idp.mail.smtp` says what it raises."""

    async def send(self, mail: RenderedMail, *, mail_id: UUID, written_at: datetime) -> None: ...


class Taken(NamedTuple):
    """A mail under our lease."""

    id: UUID
    template: str
    sealed_message: str | None
    created_at: datetime
    attempts: int


class MailSender(BackgroundService):
    """Sends what is in the outbox, in the background.

    Args:
        database: where the outbox is.
        sealer: opens the mails.
        posted: set when this process has written one.
        transport: None where no server is set: mails wait then, and fail after a day.
        keeps_text: development's mailbox reads mails from the outbox: their text stays, and without a server they are
            there already.
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
        super().__init__("mail sender", self._tidy, *([self._run] if sends else []))
        self._database = database
        self._sealer = sealer
        self._posted = posted
        self._transport = transport
        self._keeps_text = keeps_text
        self._under_way: set[asyncio.Task[None]] = set()
        self._delivered: set[UUID] = set()  # the server has them, and the outbox does not say so yet

    def start(self) -> None:
        """Begin to send, in the background."""
        if self._transport is None and not self._keeps_text:
            log.warning("SMTP_HOST is not set: mails wait in the outbox, and are given up after a day")
        super().start()

    async def stop(self) -> None:
        """Take nothing more, and give what is under way a moment; the rest is sent after its lease."""
        await super().stop()
        if self._under_way:
            _, late = await asyncio.wait(self._under_way, timeout=_STOP_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    # --- what is due -------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            self._posted.clear()
            pause = _POLL_SECONDS
            try:
                while taken := await self._take(_AT_ONCE - len(self._under_way)):
                    for mail in taken:
                        self._begin(mail)
            except DatabaseUnavailable:
                pause = _AWAY_SECONDS
            except Exception as error:  # noqa: BLE001  the sender must outlive whatever a mail does
                log.error("taking mails failed", **describe(error))  # noqa: TRY400
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._posted.wait()

    async def _take(self, most: int) -> Sequence[Taken]:
        if most <= 0:
            return []
        now = clock.now()
        async with self._database.transaction() as session:
            rows = await session.execute(_TAKE, {"now": now, "leased_until": now + LEASE, "most": most})
            return [Taken(*row) for row in rows]

    def _begin(self, mail: Taken) -> None:
        task = asyncio.create_task(self._deliver_and_record(mail))
        self._under_way.add(task)
        task.add_done_callback(self._finish)

    def _finish(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("noting what came of a mail failed", **describe(error))
        self._posted.set()  # a place is free

    # --- one mail ----------------------------------------------------------------------------------------------------

    async def _deliver_and_record(self, mail: Taken) -> None:
        """Send a mail and note what came of it."""
        renewing = asyncio.create_task(self._renew(mail))
        try:
            await self._deliver_under_lease(mail)
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)

    async def _renew(self, mail: Taken) -> None:
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            await self._note(_RENEW, mail, due=clock.now() + LEASE)

    async def _deliver_under_lease(self, mail: Taken) -> None:
        if mail.id in self._delivered:  # taken again, because nobody could write it down
            await self._note_delivery(mail)
            return
        try:
            await self._send(mail)
        except Undeliverable as error:
            await self._fail(mail, str(error))
        except NotSent as error:
            await self._put_off(mail, str(error))
        except Exception as error:  # noqa: BLE001  one mail must not stop the others
            log.error("sending a mail failed", mail=str(mail.id), template=mail.template, **describe(error))  # noqa: TRY400
            await self._put_off(mail, type(error).__name__)
        else:
            metrics.count_mail(outcome="sent")
            self._delivered.add(mail.id)
            await self._note_delivery(mail)

    async def _note_delivery(self, mail: Taken) -> None:
        """Write down that the server has it; while the database is away, again and again."""
        until = clock.now() + LEASE
        while not await self._note(_SENT, mail, now=clock.now(), keep=self._keeps_text):
            if clock.now() > until:
                return  # its lease ends; this process takes it again, and remembers
            await asyncio.sleep(_NOTE_AGAIN_SECONDS)
        self._delivered.discard(mail.id)

    async def _send(self, mail: Taken) -> None:
        opened = open_mail(self._sealer, mail.sealed_message) if mail.sealed_message else None
        if opened is None:
            raise Undeliverable("no live root secret opens it")
        if self._transport is not None:
            await self._transport.send(opened, mail_id=mail.id, written_at=mail.created_at)

    async def _put_off(self, mail: Taken, reason: str) -> None:
        due = clock.now() + delay(mail.attempts)
        if due > mail.created_at + GIVE_UP_AFTER:
            await self._fail(mail, f"given up after {mail.attempts} attempts: {reason}")
            return
        log.warning("mail put off", mail=str(mail.id), template=mail.template, attempt=mail.attempts, reason=reason)
        metrics.count_mail(outcome="put_off")
        await self._note(_LATER, mail, due=due, reason=reason)

    async def _fail(self, mail: Taken, reason: str) -> None:
        log.error("mail failed", mail=str(mail.id), template=mail.template, attempt=mail.attempts, reason=reason)
        metrics.count_mail(outcome="failed")
        await self._note(_FAILED, mail, now=clock.now(), reason=reason, keep=self._keeps_text)

    async def _note(self, statement: TextClause, mail: Taken, **values: object) -> bool:
        """Write down what came of a mail; False while PostgreSQL is away: its lease ends, and it is tried again."""
        ours = {"id": mail.id, "attempts": mail.attempts}
        try:
            async with self._database.transaction() as session:
                await session.execute(statement, values | ours)
        except DatabaseUnavailable:
            return False
        return True

    # --- what is old -------------------------------------------------------------------------------------------------

    async def _tidy(self) -> None:
        while True:
            try:
                await self.tidy()
            except DatabaseUnavailable:
                pass
            except Exception as error:  # noqa: BLE001
                log.error("tidying the outbox failed", **describe(error))  # noqa: TRY400
            await asyncio.sleep(_TIDY_SECONDS)

    async def tidy(self) -> None:
        """Give up what waited in vain, forget what is old, and count what waits."""
        now = clock.now()
        async with self._database.transaction() as session:
            if self._transport is None and not self._keeps_text:
                rows = await session.execute(_NEVER_TRIED, {"now": now, "before": now - GIVE_UP_AFTER})
                for (template,) in rows:
                    log.error("mail failed", template=template, reason="SMTP_HOST is not set")
                    metrics.count_mail(outcome="failed")
            await session.execute(_FORGET, {"before": now - KEPT})
            metrics.set_mail_pending((await session.execute(_PENDING)).scalar_one())


def delay(attempts: int) -> timedelta:
    """Return how long to wait after so many attempts: longer each time, and never at the same moment as others."""
    seconds = RETRY_SECONDS[min(attempts, len(RETRY_SECONDS)) - 1]
    return timedelta(seconds=seconds * secrets.SystemRandom().uniform(0.75, 1.25))
