"""A real SMTP server, and an outbox to send from."""

import asyncio
import email.policy
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from typing import Any

import asyncpg
from aiosmtpd.smtp import SMTP

from factories import root_secret
from idp.db.engine import Database
from idp.mail.messages import Mail
from idp.mail.outbox import Mailer
from idp.mail.sender import MailSender
from idp.mail.smtp import SmtpTransport
from idp.settings import Secret
from idp.settings_schema import Database as DatabaseSettings
from idp.settings_schema import Mail as MailSettings
from idp.signing.sealing import Sealer

BASE_URL = "https://id.example.com"


class PostOffice:
    """What the server did, and what it shall answer.

    Attributes:
        delivered: (recipient, message), in order.
        tries: how often each recipient was named.
        answers: instead of 250, to RCPT of a recipient.
        after_data: instead of 250, to DATA.
        hangs: recipients whose DATA is not answered before `release` is set.
    """

    def __init__(self) -> None:
        self.delivered: list[tuple[str, EmailMessage]] = []
        self.tries: Counter[str] = Counter()
        self.answers: dict[str, str] = {}
        self.after_data: str | None = None
        self.hangs: set[str] = set()
        self.release = asyncio.Event()
        self.port = 0
        self.options: dict[str, Any] = {}
        self.secured: list[bool] = []

    async def handle_RCPT(  # noqa: N802
        self, _server: Any, _session: Any, envelope: Any, address: str, _options: list[str]
    ) -> str:
        self.tries[address] += 1
        if answer := self.answers.get(address):
            return answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        if self.hangs & set(envelope.rcpt_tos):
            await self.release.wait()
        if self.after_data:
            return self.after_data
        message = message_from_bytes(envelope.original_content, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        self.delivered += [(recipient, message) for recipient in envelope.rcpt_tos]
        self.secured.append(session.ssl is not None)
        return "250 OK"

    @asynccontextmanager
    async def open(self, **options: Any) -> AsyncIterator["PostOffice"]:
        """Serve, on the same port each time."""
        loop = asyncio.get_running_loop()
        options = {"hostname": "post.example.com", "loop": loop, **options}
        server = await loop.create_server(lambda: SMTP(self, **options), "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.release.set()

    @property
    def recipients(self) -> list[str]:
        return [recipient for recipient, _ in self.delivered]


@dataclass
class Outbox:
    """An outbox of a database of its own."""

    database: Database
    url: str
    sealer: Sealer = field(default_factory=lambda: Sealer([Secret(root_secret())]))
    mailer: Mailer = field(init=False)

    def __post_init__(self) -> None:
        self.mailer = Mailer(self.sealer, base_url=BASE_URL, service="Acme")

    async def post(self, mail: Mail, *, to: str) -> None:
        async with self.database.transaction() as session:
            self.mailer.post(session, mail, to=to)

    async def sql(self, statement: str, *values: Any) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.url)
        try:
            return await connection.fetch(statement, *values)
        finally:
            await connection.close()

    async def row(self) -> asyncpg.Record:
        (row,) = await self.sql("SELECT * FROM idp.mail_outbox")
        return row

    async def hurry(self) -> None:
        """Let the time come at which what was put off is due."""
        await self.sql("UPDATE idp.mail_outbox SET due_at = now() WHERE attempts > 0")
        self.mailer.posted.set()

    def sender(self, office: PostOffice | None, *, keeps_text: bool = False, **settings: Any) -> MailSender:
        transport = None
        if office is not None:
            values = {"smtp_use_tls": False, "from_email": "Acme <no-reply@acme.example>"} | settings
            transport = SmtpTransport(MailSettings(smtp_host="127.0.0.1", smtp_port=office.port, **values))
        return MailSender(self.database, self.sealer, self.mailer.posted, transport=transport, keeps_text=keeps_text)

    @asynccontextmanager
    async def sending(self, office: PostOffice | None, **settings: Any) -> AsyncIterator[MailSender]:
        sender = self.sender(office, **settings)
        sender.start()
        try:
            yield sender
        finally:
            await sender.stop()


async def until(condition: Any, seconds: float = 10.0) -> None:
    """Wait until it is so; asks a function, or a coroutine function."""
    async with asyncio.timeout(seconds):
        while True:
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return
            await asyncio.sleep(0.02)


def outbox_of(url: str) -> Outbox:
    patient = DatabaseSettings(
        url=Secret(url), pool_timeout_seconds=20, connect_timeout_seconds=20
    )  # the machine is shared
    return Outbox(Database(patient), url)
