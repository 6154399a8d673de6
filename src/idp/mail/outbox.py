"""The outbox: a mail is written in the transaction that wants it, so both happen or neither does."""

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
    """Writes mails into the outbox.

    Args:
        sealer: seals their text, which holds links that sign somebody in.
        base_url: where the pages are that links lead to; never taken from a request (SEC-10).
        service: what this installation calls itself.
        home: the application that people sign in to, None where none is set.

    Attributes:
        posted: set after each commit that wrote a mail; the sender of this process waits for it.
    """

    def __init__(self, sealer: Sealer, *, base_url: str, service: str, home: str | None = None) -> None:
        self.posted = asyncio.Event()
        self._sealer = sealer
        self._base_url = base_url.rstrip("/")
        self._service = service
        self._home = home

    def post(self, session: AsyncSession, mail: Mail, *, to: str, at_leisure: bool = False) -> None:
        """Write a mail; it is sent soon after the session's commit, and never without one.

        Takes about a millisecond, and sending takes more, which tells a caller's client whether a mail was written
        (SEC-9): where that is a secret, write one in any case, undo it where nobody gets it, and let it be sent later.

        Args:
            session: the caller's transaction.
            mail: what it says.
            to: the recipient's address.
            at_leisure: send it within a second, when the sender looks for mails by itself, and not in the very moment.
        """
        rendered = render(mail, to=to, base_url=self._base_url, service=self._service, home=self._home)
        sealed = self._sealer.seal(msgspec.json.encode(rendered), purpose="mail")
        session.add(MailRow(template=mail.template, sealed_message=sealed))
        if not at_leisure:
            event.listen(session.sync_session, "after_commit", self._wake, once=True)

    def _wake(self, _session: Any) -> None:
        self.posted.set()


def open_mail(sealer: Sealer, sealed: str) -> RenderedMail | None:
    """Return what was sealed, None where no live root secret opens it."""
    opened = sealer.open(sealed, purpose="mail")
    return msgspec.json.decode(opened, type=RenderedMail) if opened is not None else None
