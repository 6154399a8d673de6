"""A JSON object with exactly one reading: no member twice, no number without end, not too deep (SEC-27, SEC-28)."""

import json
import math
from typing import Any

import msgspec

_MAX_DEPTH = 8
_BRACKET = ord("[")
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


class Malformed(ValueError):
    """Not what it must be, before anything about it is believed; the text says why."""


def read_object(raw: bytes) -> dict[str, Any]:
    """Return the members of a JSON object.

    Raises:
        Malformed: it is none, or readers could differ about what it says.
    """
    try:
        members = _decode(raw)
        # Written again it is the same: then no member stood twice, for the copy cannot have one twice.
        if _encode(members) != raw:
            _check_slowly(raw)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
        raise Malformed(f"not a JSON object with one reading: {error}") from None
    if _BRACKET in raw or raw.rfind(b"{") > 0:
        _check_depth(members)
    return members


def _check_slowly(raw: bytes) -> None:
    """Refuse what a lenient reader would pass: duplicate members, NaN, endless numbers, half a surrogate pair."""
    value = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
    json.dumps(value, ensure_ascii=False).encode("utf-8")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member stands twice")
    return members


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number without end")
    return number


def _check_depth(value: Any, depth: int = 1) -> None:
    if depth > _MAX_DEPTH:
        raise Malformed(f"nested deeper than {_MAX_DEPTH}")
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_depth(child, depth + 1)
