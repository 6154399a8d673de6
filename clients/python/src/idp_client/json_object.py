"""A JSON object with exactly one reading: no member twice, no infinite number, not nested too deep (SEC-27, SEC-28).

`tests/vectors/json_objects.json` says what is read and what is refused; the service's own reader passes it too.
"""

import json
from typing import Any

_MAX_DEPTH = 8


class Malformed(ValueError):
    """Not what it must be, before anything about it is believed; the text says why."""


def read_object(raw: bytes) -> dict[str, Any]:
    """Return the members of a JSON object.

    Raises:
        Malformed: it is none, or readers could differ about what it says.
    """
    try:
        members = json.loads(raw.decode(), object_pairs_hook=_unique)
        if not isinstance(members, dict):
            raise Malformed("another value than an object")
        _check_depth(members)
        # Refuses NaN, numbers beyond a float, and half of a surrogate pair (RFC 8259 sections 6 and 8.2).
        json.dumps(members, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise Malformed(f"not a JSON object with one reading: {error}") from None
    return members


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Malformed("a member stands twice")
    return members


def _check_depth(value: Any, depth: int = 1) -> None:
    """Count objects and lists inside each other; the values in the innermost do not count."""
    if not isinstance(value, dict | list):
        return
    if depth > _MAX_DEPTH:
        raise Malformed(f"nested deeper than {_MAX_DEPTH}")
    for child in value.values() if isinstance(value, dict) else value:
        _check_depth(child, depth + 1)
