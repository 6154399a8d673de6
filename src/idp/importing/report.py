"""What an import did: numbers, conflicts to act on, and remarks."""

from msgspec import Struct, field

MAX_LISTED = 1000  # conflicts and administrators that are listed; all are counted
_OUTCOMES = ("created", "updated", "skipped")


class Conflict(Struct, frozen=True):
    """A record that was not imported.

    Attributes:
        line: of the file.
        kind: of the record.
        id: its primary id.
        code: names the reason, for scripts.
        seen: what the record says.
        exists: what is here already, or what is expected.
        action: what to do.
    """

    line: int
    kind: str
    id: str
    code: str
    seen: str
    exists: str
    action: str


class Counts(Struct):
    """Numbers of records."""

    created: int = 0
    updated: int = 0
    skipped: int = 0
    conflicting: int = 0


class Report(Struct):
    """The report of an import; it is stored with each transaction.

    Attributes:
        by_kind: numbers by kind of record.
        conflicts: the first of them.
        administrators: users who became administrators, by address or id.
        notes: remarks, each with the number of records.
    """

    by_kind: dict[str, Counts] = field(default_factory=dict)
    conflicts: list[Conflict] = field(default_factory=list)
    administrators: list[str] = field(default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)

    def count(self, kind: str, outcome: str, number: int = 1) -> None:
        """Count records: `created`, `updated` or `skipped`."""
        counts = self.by_kind.setdefault(kind, Counts())
        setattr(counts, outcome, getattr(counts, outcome) + number)

    def add(self, conflict: Conflict) -> None:
        """Count a conflict, and list it."""
        self.count(conflict.kind, "conflicting")
        if len(self.conflicts) < MAX_LISTED:
            self.conflicts.append(conflict)

    def add_administrator(self, name: str) -> None:
        """Name a new administrator."""
        if len(self.administrators) < MAX_LISTED:
            self.administrators.append(name)
        else:
            self.note("more administrators")

    def note(self, text: str, number: int = 1) -> None:
        """Count a remark."""
        self.notes[text] = self.notes.get(text, 0) + number

    def total(self, outcome: str) -> int:
        """Return a number over all kinds."""
        return sum(getattr(each, outcome) for each in self.by_kind.values())

    @property
    def conflicting(self) -> int:
        """The number of conflicts, also of those not listed."""
        return self.total("conflicting")
