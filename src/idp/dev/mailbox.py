"""Reads all mails in the outbox; for `idp dev` only."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import select

from idp.db.engine import Database
from idp.mail.models import MailRow
from idp.mail.outbox import open_mail
from idp.mail.rendering import RenderedMail
from idp.signing.sealing import Sealer

_LIMIT = 200


class Letter(NamedTuple):
    """A mail in the mailbox."""

    id: UUID
    mail: RenderedMail
    created_at: datetime
    state: str


class Mailbox:
    """Reads the outbox.

    Args:
        sealer: decrypts the mails.
    """

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database = database
        self._sealer = sealer

    async def letters(self) -> list[Letter]:
        """Return the latest 200 mails, newest first."""
        newest = select(MailRow).order_by(MailRow.created_at.desc(), MailRow.id.desc()).limit(_LIMIT)
        async with self._database.transaction() as session:
            rows = (await session.scalars(newest)).all()
        return [letter for row in rows if (letter := self._letter(row)) is not None]

    async def find(self, letter_id: UUID) -> Letter | None:
        async with self._database.transaction() as session:
            row = await session.get(MailRow, letter_id)
        return self._letter(row) if row is not None else None

    def _letter(self, row: MailRow) -> Letter | None:
        mail = open_mail(self._sealer, row.sealed_message) if row.sealed_message else None
        if mail is None:
            return None
        return Letter(id=row.id, mail=mail, created_at=row.created_at, state=_state(row))


def _state(row: MailRow) -> str:
    """Return why a mail was not sent, an empty text if there was no error."""
    if row.failed_at is not None:
        return f"failed: {row.last_error}"
    if row.sent_at is None and row.last_error is not None:
        return f"put off: {row.last_error}"
    return ""
