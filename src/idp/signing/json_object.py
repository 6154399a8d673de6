"""Strict JSON objects: no duplicate members, no infinite numbers, limited nesting (SEC-27, SEC-28).

Decoders differ on duplicate members: most take the last, some the first. `tests/vectors/json_objects.json` has test
vectors, which the client library's reader passes too.
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
        ValueError: it is invalid or ambiguous.
    """
    members = _read_canonical(raw)
    return _read_strictly(raw) if members is None else members


def _read_canonical(raw: bytes) -> dict[str, Any] | None:
    """Parse our own canonical output in half the time; None for all other input.

    Re-encoding must give the same bytes. This excludes duplicate members and non-canonical numbers and strings.
    """
    if raw.count(b"{") + raw.count(b"[") > _MAX_DEPTH:  # fewer brackets cannot be nested deeper
        return None
    try:
        members = _decode(raw)
        return members if _encode(members) == raw else None
    except (ValueError, OverflowError, RecursionError):  # the strict parser reports the error, if any
        return None


def _read_strictly(raw: bytes) -> dict[str, Any]:
    try:
        members = json.loads(raw.decode(), object_pairs_hook=_unique)
        if not isinstance(members, dict):
            raise ValueError("not a JSON object")  # noqa: TRY004  like all errors here
        _check_depth(members)
        # Refuses NaN, numbers out of range, and lone surrogates (RFC 8259 sections 6 and 8.2).
        json.dumps(members, allow_nan=False, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError(f"nested deeper than {_MAX_DEPTH}") from None
    return members


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate member")
    return members


def _check_depth(value: Any, depth: int = 1) -> None:
    """Check the nesting of objects and lists."""
    if not isinstance(value, dict | list):
        return
    if depth > _MAX_DEPTH:
        raise ValueError(f"nested deeper than {_MAX_DEPTH}")
    for child in value.values() if isinstance(value, dict) else value:
        _check_depth(child, depth + 1)
