"""Reads NDJSON safely: bounded lines, exact UTF-8, no duplicate members, every error with its line number."""

import json
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import msgspec

from idp.importing.records import AnyRecord

MAX_LINE = 1 << 20  # bytes
_BOM = b"\xef\xbb\xbf"
_DECODER = msgspec.json.Decoder(AnyRecord)


class BadLine(Exception):
    """A line is not a record; the message says what was seen."""


class Line(NamedTuple):
    """A line of a file.

    Attributes:
        number: counted from 1.
        start: its position in bytes.
        end: the position of the next line.
        raw: its bytes without the line break; None if it is too long.
    """

    number: int
    start: int
    end: int
    raw: bytes | None


def lines(file: BinaryIO, *, position: int = 0, number: int = 1) -> Iterator[Line]:
    """Yield the lines that are not blank. LF and CRLF end a line; a byte order mark is skipped.

    Args:
        file: a seekable file.
        position: where to begin, in bytes.
        number: of the line there.
    """
    file.seek(position)
    while raw := file.readline(MAX_LINE + 2):
        start, size, too_long = position, len(raw), not raw.endswith(b"\n") and len(raw) > MAX_LINE
        while too_long and not raw.endswith(b"\n"):
            raw = file.readline(MAX_LINE)
            size += len(raw)
            if not raw:
                break
        position += size
        if too_long:
            yield Line(number, start, position, None)
        else:
            raw = (raw.removeprefix(_BOM) if start == 0 else raw).rstrip(b"\r\n")
            if raw.strip():
                yield Line(number, start, position, raw)
        number += 1


def decode(raw: bytes | None) -> AnyRecord:
    """Return the record of a line.

    Raises:
        BadLine: it is none.
    """
    if raw is None:
        raise BadLine(f"the line is longer than {MAX_LINE} bytes")
    try:
        record: AnyRecord = _DECODER.decode(raw)
    except msgspec.ValidationError as error:
        raise BadLine(_reason(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadLine(f"this is not JSON ({_reason(error)})") from None
    except RecursionError:
        raise BadLine("the JSON is nested too deeply") from None
    return record


def check(raw: bytes | None) -> AnyRecord:
    """Return the record of a line, as `decode`, and refuse duplicate members and NUL characters.

    Raises:
        BadLine: it is none.
    """
    record = decode(raw)
    assert raw is not None
    try:
        json.loads(raw, object_pairs_hook=_members)
    except RecursionError:
        raise BadLine("the JSON is nested too deeply") from None
    except ValueError as error:
        raise BadLine(f"this is not JSON ({error})") from None
    return record


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise BadLine(f"the member {next(name for name in names if names.count(name) > 1)!r} appears twice")
    for name, value in pairs:
        if "\x00" in name or _has_nul(value):
            raise BadLine(f"the member {name!r} contains a NUL character, which PostgreSQL cannot store")
    return found


def _has_nul(value: Any) -> bool:
    """Whether a text or a list has the character; objects were checked before."""
    return "\x00" in value if isinstance(value, str) else isinstance(value, list) and any(map(_has_nul, value))


def _reason(error: Exception) -> str:
    return str(error).replace("`$.", "`").replace(" - at `$`", "").replace("`$`", "the line")
