"""A JSON object with exactly one reading: no member twice, no number without end, not too deep (SEC-27, SEC-28).

Decoders are lenient here: of two members of one name most take the last, some the first.
"""

import json
import math
import re
from typing import Any

import msgspec

_MAX_DEPTH = 8
_HALF_A_SIGN = re.compile(r"[\ud800-\udfff]")  # "\ud800" alone is JSON, and no text that can be stored (RFC 8259 8.2)
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


def read_object(raw: bytes) -> dict[str, Any]:
    """Return the members of a JSON object.

    Raises:
        ValueError: it is none, or readers could differ about what it says.
    """
    members = _read_plain(raw)
    if members is None:
        members = _read_strictly(raw)
    if raw.count(b"{") + raw.count(b"[") > _MAX_DEPTH:  # fewer cannot be deeper
        _check_depth(members)
    return members


def _read_plain(raw: bytes) -> dict[str, Any] | None:
    """Read what is written as we write it ourselves, in half the time; None for everything else, good or bad.

    Written again it must be the same. Then no member stood twice, for the copy cannot have one twice, and each number
    and text has the value that it is written as.
    """
    try:
        members = _decode(raw)
        return members if _encode(members) == raw else None
    except (ValueError, OverflowError, RecursionError):  # the strict reader says what is wrong, if anything is
        return None


def _read_strictly(raw: bytes) -> dict[str, Any]:
    try:
        text = raw.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
        if "\\u" in text and _HALF_A_SIGN.search(json.dumps(value, ensure_ascii=False)):
            raise ValueError("half of a surrogate pair")
    except RecursionError:
        raise ValueError("nested too deep to be read") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004  as everything else here
    return value


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
        raise ValueError(f"nested deeper than {_MAX_DEPTH}")
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_depth(child, depth + 1)
