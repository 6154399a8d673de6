"""The content of a backup: a head, the rows of each table as PostgreSQL's binary COPY, and the counts."""

import struct
from collections.abc import Callable, Iterable, Iterator

import msgspec

from idp.backup.sealed_file import UnreadableBackup

FORMAT = "idp-backup/1"
_LENGTH = struct.Struct(">I")
_MAX_RECORD = 64 << 20  # bytes


class Head(msgspec.Struct, frozen=True, tag="head"):
    """The first record.

    Attributes:
        format: of the file.
        version: of idp.
        revision: of the schema.
        created_at: when the snapshot was taken (RFC 3339).
    """

    format: str
    version: str
    revision: str
    created_at: str


class Table(msgspec.Struct, frozen=True, tag="table"):
    """The rows of a table follow, with these columns."""

    name: str
    columns: tuple[str, ...]


class Data(msgspec.Struct, frozen=True, tag="data"):
    """A piece of the rows."""

    data: bytes


class EndOfTable(msgspec.Struct, frozen=True, tag="end"):
    """The rows end, with their number."""

    rows: int


class End(msgspec.Struct, frozen=True, tag="done"):
    """The last record."""

    tables: int


Record = Head | Table | Data | EndOfTable | End
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Record).decode


def write_record(write: Callable[[bytes], object], record: Record) -> None:
    """Write a record."""
    body = _encode(record)
    write(_LENGTH.pack(len(body)) + body)


def read_records(pieces: Iterable[bytes]) -> Iterator[Record]:
    """Yield the records in these bytes.

    Raises:
        UnreadableBackup: they are not a complete backup of this format.
    """
    waiting, last = bytearray(), None
    for piece in pieces:
        waiting += piece
        while len(waiting) >= _LENGTH.size:
            size = _LENGTH.unpack_from(waiting)[0]
            if size > _MAX_RECORD:
                raise UnreadableBackup("The backup is damaged: a record is too long.")
            if len(waiting) < _LENGTH.size + size:
                break
            last = _record(bytes(waiting[_LENGTH.size : _LENGTH.size + size]))
            del waiting[: _LENGTH.size + size]
            yield last
    if waiting or not isinstance(last, End):
        raise UnreadableBackup("The backup is incomplete: its last record is missing.")


def _record(body: bytes) -> Record:
    try:
        record: Record = _decode(body)
    except msgspec.DecodeError as error:
        raise UnreadableBackup(f"The backup is damaged: {error}.") from None
    if isinstance(record, Head) and record.format != FORMAT:
        raise UnreadableBackup(f"The backup has the format {record.format}; this version reads {FORMAT}.")
    return record
