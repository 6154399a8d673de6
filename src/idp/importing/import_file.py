"""The file to import: checked as a whole before anything is written, then read again kind by kind."""

import hashlib
import os
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import islice
from typing import BinaryIO, NamedTuple

from msgspec import Struct, field

from idp import clock
from idp.importing.ndjson import BadLine, Line, check, decode, lines
from idp.importing.records import FORMAT, KINDS, Header, Record

MAX_ERRORS = 20  # reported lines
_KIND_OF = {record: kind for kind, record in KINDS.items()}
_EVERY = 5000  # lines between two reports of progress


class BadFile(Exception):
    """The file cannot be imported; nothing was written. The message has a line for each error."""


class Numbered(NamedTuple):
    """A record, and where it stands."""

    line: int
    end: int
    record: Record


class Range(Struct):
    """Where the records of a kind are: the first and the end of the last, in bytes."""

    start: int
    line: int
    end: int = 0
    records: int = 0


class Facts(Struct):
    """What the check of a file found."""

    digest: str
    source: str
    exported_at: datetime
    ranges: dict[str, Range] = field(default_factory=dict)

    @property
    def records(self) -> int:
        return sum(each.records for each in self.ranges.values())


class ImportFile:
    """A seekable file in the format `idp-import/1`.

    Args:
        file: opened for reading bytes.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._state: tuple[int, int] | None = None

    def check(self, progress: Callable[[int, int], None] = lambda _done, _all: None) -> Facts:
        """Read the whole file, and return what is in it.

        Args:
            progress: called with bytes read, and all bytes.

        Raises:
            BadFile: names each bad line.
        """
        self._state = self._stat()
        scan, size = _Scan(), self._state[0]
        for line in lines(self._file):
            scan.add(line)
            if line.number % _EVERY == 0:
                progress(line.end, size)
        progress(size, size)
        return scan.facts(self._digest())

    def records(self, kind: str, *, position: int, line: int, end: int) -> Iterator[Numbered]:
        """Yield the records of a kind in a range of the file.

        Raises:
            BadFile: the file was changed after the check.
        """
        if self._stat() != self._state:
            raise BadFile("The file was changed while it was imported: start the import again.")
        wanted = KINDS[kind]
        for each in lines(self._file, position=position, number=line):
            if each.start >= end:
                return
            record = decode(each.raw)
            if isinstance(record, wanted):
                yield Numbered(each.number, each.end, record)

    def _stat(self) -> tuple[int, int]:
        found = os.fstat(self._file.fileno())
        return found.st_size, found.st_mtime_ns

    def _digest(self) -> str:
        self._file.seek(0)
        digest = hashlib.sha256()
        while piece := self._file.read(1 << 20):
            digest.update(piece)
        return digest.hexdigest()


class _Scan:
    """Collects what a file has, and its errors."""

    def __init__(self) -> None:
        self._header: Header | None = None
        self._ranges: dict[str, Range] = {}
        self._seen: dict[int, int] = {}  # hash of kind and id: line
        self._errors: list[str] = []
        self._bad = 0

    def add(self, line: Line) -> None:
        try:
            self._add(line)
        except BadLine as error:
            self._bad += 1
            if self._bad <= MAX_ERRORS:
                self._errors.append(f"line {line.number}: {error}")
            if self._header is None:
                raise BadFile(self._errors[0]) from None

    def _add(self, line: Line) -> None:
        record = check(line.raw)
        if self._header is None or isinstance(record, Header):
            self._set_header(record)
            return
        kind = _KIND_OF[type(record)]
        if record.primary_id is not None:
            first = self._seen.setdefault(hash((kind, record.primary_id)), line.number)
            if first != line.number:
                raise BadLine(f"the {kind} {record.primary_id!r} appears twice, first in line {first}: keep one")
        found = self._ranges.setdefault(kind, Range(line.start, line.number))
        found.end, found.records = line.end, found.records + 1

    def _set_header(self, record: Record) -> None:
        if not isinstance(record, Header):
            raise BadLine(f'the first line must be the header: {{"kind":"header","format":"{FORMAT}","source":"…"}}')
        if self._header is not None:
            raise BadLine("this is a second header: import one file after the other")
        if record.format != FORMAT:
            raise BadLine(f"the format is {record.format!r}; this version reads {FORMAT!r}")
        self._header = record

    def facts(self, digest: str) -> Facts:
        if self._errors:
            more = self._bad - len(self._errors)
            raise BadFile("\n".join([*self._errors, *([f"and {more} more bad lines"] if more else [])]))
        if self._header is None:
            raise BadFile("The file is empty: its first line must be the header.")
        exported_at = min(self._header.exported_at or clock.now(), clock.now())
        return Facts(digest, self._header.source, exported_at, self._ranges)


def batches(records: Iterator[Numbered], size: int) -> Iterator[list[Numbered]]:
    """Yield lists of at most `size` records."""
    while batch := list(islice(records, size)):
        yield batch
