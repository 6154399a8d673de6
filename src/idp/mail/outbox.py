"""The transactional outbox: a mail is written in the caller's transaction."""

import asyncio
from typing import Any

import msgspec
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession

from idp.mail.messages import Mail
from idp.mail.models import MailRow
from idp.mail.rendering import RenderedMail, render
from idp.signing.sealing import Sealer


class Mailer:
    """Writes mails to the outbox.

    Args:
        sealer: encrypts their text, which contains one-time links.
        base_url: base URL of links; never taken from a request (SEC-10).
        service: the service's name.
        home: URL of the front end, None if not configured.
        own_url: base URL of the account pages; `base_url` by default.

    Attributes:
        posted: set after each commit with a mail; wakes the sender of this process.
    """

    def __init__(
        self, sealer: Sealer, *, base_url: str, service: str, home: str | None = None, own_url: str | None = None
    ) -> None:
        self.posted = asyncio.Event()
        self._sealer = sealer
        self._places: dict[str, Any] = {
            "base_url": base_url.rstrip("/"),
            "service": service,
            "home": home,
            "own_url": own_url.rstrip("/") if own_url else None,
        }

    def post(self, session: AsyncSession, mail: Mail, *, to: str, delayed: bool = False) -> None:
        """Write a mail; it is sent after the session's commit.

        Writing takes about a millisecond and sending more, which can reveal to the client whether a mail was written
        (SEC-9). If that is secret, always write one, roll it back if unneeded, and use `delayed`.

        Args:
            session: the caller's transaction.
            mail: its content.
            to: the recipient's address.
            delayed: send it at the next poll, within a second, instead of immediately.
        """
        rendered = render(mail, to=to, **self._places)
        sealed = self._sealer.seal(msgspec.json.encode(rendered), purpose="mail")
        session.add(MailRow(template=mail.template, sealed_message=sealed))
        if not delayed:
            event.listen(session.sync_session, "after_commit", self._wake, once=True)

    def _wake(self, _session: Any) -> None:
        self.posted.set()


def open_mail(sealer: Sealer, sealed: str) -> RenderedMail | None:
    """Decrypt a mail; None if no live root secret decrypts it."""
    opened = sealer.open(sealed, purpose="mail")
    return msgspec.json.decode(opened, type=RenderedMail) if opened is not None else None
