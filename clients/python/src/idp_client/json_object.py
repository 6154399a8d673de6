"""Parses JSON objects strictly: no duplicate members, no infinite numbers, limited depth (SEC-27, SEC-28).

`tests/vectors/json_objects.json` has the accepted and refused cases; the service's parser is tested with them, too.
"""

import json
from typing import Any

_MAX_DEPTH = 8


class Malformed(ValueError):
    """The input is invalid; the message says why."""


def read_object(raw: bytes) -> dict[str, Any]:
    """Return the members of a JSON object.

    Raises:
        Malformed: it is not a JSON object, or parsers could interpret it differently.
    """
    try:
        members = json.loads(raw.decode(), object_pairs_hook=_unique)
        if not isinstance(members, dict):
            raise Malformed("not an object")
        _check_depth(members)
        # Refuses NaN, numbers beyond a float, and half of a surrogate pair (RFC 8259 sections 6 and 8.2).
        json.dumps(members, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise Malformed(f"not an unambiguous JSON object: {error}") from None
    return members


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Malformed("duplicate member")
    return members


def _check_depth(value: Any, depth: int = 1) -> None:
    """Check the depth of nested objects and lists; scalar values do not count."""
    if not isinstance(value, dict | list):
        return
    if depth > _MAX_DEPTH:
        raise Malformed(f"nested deeper than {_MAX_DEPTH}")
    for child in value.values() if isinstance(value, dict) else value:
        _check_depth(child, depth + 1)
