"""What the stages of an import share: the connection, the options, and the report."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal

from msgspec import Struct, field

from idp.importing.import_file import Numbered
from idp.importing.report import Conflict, Report

OnConflict = Literal["fail", "skip", "link"]
Connection = Any  # of asyncpg
Seal = Callable[[str], str]


class Options(Struct, frozen=True):
    """The options of an import.

    Attributes:
        on_conflict: stop at a conflict, leave the record out, or link two accounts of one verified address.
        emit_events: publish an event for each change, with the origin `import`.
        admin_keys: unique keys (`users/email.py`) of the addresses whose users become administrators.
    """

    on_conflict: OnConflict = "fail"
    emit_events: bool = False
    admin_keys: tuple[str, ...] = ()


class Batch(Struct):
    """A transaction of an import.

    Attributes:
        source: the name of the other service.
        exported_at: when its data was read; the time of records that have none.
        known_until: `exported_at` of its previous import. Users changed here since are not overwritten.
        now: the time of the import.
        report: collects what happens.
        seal: encrypts secrets of authenticator apps; None without a root secret.
        events: type, subject, version and data (JSON) of events to publish.
    """

    connection: Connection
    options: Options
    source: str
    exported_at: datetime
    known_until: datetime | None
    now: datetime
    report: Report
    is_dry_run: bool = False
    seal: Seal | None = None
    events: list[tuple[str, str, int | None, str]] = field(default_factory=list)

    def conflict(self, record: Numbered, kind: str, code: str, *, seen: str, exists: str, action: str) -> None:
        """Report a record that is left out."""
        name = record.record.primary_id or ""
        self.report.add(Conflict(record.line, kind, name, code, seen, exists, action))

    async def fetch(self, statement: str, *values: Any) -> list[Any]:
        """Return the rows of a statement."""
        rows: list[Any] = await self.connection.fetch(statement, *values)
        return rows
