"""A JSON object with exactly one reading: no member twice, no infinite number, not nested too deep (SEC-27, SEC-28).

Decoders are lenient here: of two members of one name most take the last, some the first. What is read and what is
refused says `tests/vectors/json_objects.json`; the client library's own reader passes it too.
"""

import json
from typing import Any

import msgspec

_MAX_DEPTH = 8
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


def read_object(raw: bytes) -> dict[str, Any]:
    """Return the members of a JSON object.

    Raises:
        ValueError: it is none, or readers could differ about what it says.
    """
    members = _read_canonical(raw)
    return _read_strictly(raw) if members is None else members


def _read_canonical(raw: bytes) -> dict[str, Any] | None:
    """Read what is written as we write it ourselves, in half the time; None for everything else, good or bad.

    Written again it must be the same. Then no member stood twice, for the copy cannot have one twice, and each number
    and text has the value that it is written as.
    """
    if raw.count(b"{") + raw.count(b"[") > _MAX_DEPTH:  # fewer cannot be deeper
        return None
    try:
        members = _decode(raw)
        return members if _encode(members) == raw else None
    except (ValueError, OverflowError, RecursionError):  # the strict reader says what is wrong, if anything is
        return None


def _read_strictly(raw: bytes) -> dict[str, Any]:
    try:
        members = json.loads(raw.decode(), object_pairs_hook=_unique)
        if not isinstance(members, dict):
            raise ValueError("not a JSON object")  # noqa: TRY004  as everything else here
        _check_depth(members)
        # Refuses NaN, numbers beyond a float, and half of a surrogate pair (RFC 8259 sections 6 and 8.2).
        json.dumps(members, allow_nan=False, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError(f"nested deeper than {_MAX_DEPTH}") from None
    return members


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member stands twice")
    return members


def _check_depth(value: Any, depth: int = 1) -> None:
    """Count objects and lists inside each other; the values in the innermost do not count."""
    if not isinstance(value, dict | list):
        return
    if depth > _MAX_DEPTH:
        raise ValueError(f"nested deeper than {_MAX_DEPTH}")
    for child in value.values() if isinstance(value, dict) else value:
        _check_depth(child, depth + 1)
