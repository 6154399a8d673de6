"""Reading a compact JWS strictly, before anything about it is believed (RFC 7515, RFC 8725; SEC-26 to SEC-28).

JOSE libraries are lenient where a service must not be: padded or non-canonical base64url, duplicate members, invalid
UTF-8, headers of unlimited size. Whatever passes here has exactly one reading.
"""

import functools
import json
import math
import re
import string
from base64 import urlsafe_b64decode
from typing import Any

from msgspec import Struct

MAX_LENGTH = 8192  # characters; our own tokens take about 700
_MAX_DEPTH = 8
_BASE64URL = re.compile(r"[A-Za-z0-9_-]*\Z")
_SIGNS = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
_VALUES = {sign: value for value, sign in enumerate(_SIGNS)}
_PADDING = ("", "", "==", "=")
_HALF_A_SIGN = re.compile(r"[\ud800-\udfff]")  # "\ud800" alone is JSON, and no text that can be stored (RFC 8259 8.2)
# Members that change what the rest means; we implement none of them, so they must not be there.
_REFUSED_MEMBERS = frozenset({"crit", "b64", "zip", "enc"})


class Malformed(ValueError):
    """Not a compact JWS with one reading; the text says where."""


class UnverifiedJwt(Struct, frozen=True):
    """A token whose signature nobody has checked: good for finding out whose it is, and for nothing else."""

    token: str
    header: dict[str, Any]
    claims: dict[str, Any]

    def __repr__(self) -> str:
        return "UnverifiedJwt(hidden)"


def parse(token: str) -> UnverifiedJwt:
    """Take a token apart.

    Args:
        token: what the client presented.

    Raises:
        Malformed: it has more than one reading, or none.
    """
    if len(token) > MAX_LENGTH:
        raise Malformed(f"longer than {MAX_LENGTH} characters")
    parts = token.split(".")
    if len(parts) != 3:
        raise Malformed("not three parts")
    header = dict(_header(parts[0]))
    claims = _object(_decode(parts[1], "payload"), "payload")
    _decode(parts[2], "signature")
    if refused := _REFUSED_MEMBERS & header.keys():
        raise Malformed(f"header holds {min(refused)}")
    if str(header.get("cty", "")).lower().removeprefix("application/") == "jwt":
        raise Malformed("a token inside a token")
    return UnverifiedJwt(token=token, header=header, claims=claims)


@functools.lru_cache(maxsize=64)
def _header(part: str) -> dict[str, Any]:
    """Every token of one key has the same header: it is read once."""
    return _object(_decode(part, "header"), "header")


def _decode(part: str, where: str) -> bytes:
    rest = len(part) % 4
    if rest == 1 or not _BASE64URL.match(part):
        raise Malformed(f"{where} is not base64url without padding")
    # The bits that the last character carries beyond the last byte must be zero: then the text has one reading.
    if rest and _VALUES[part[-1]] & (0b1111 if rest == 2 else 0b11):
        raise Malformed(f"{where} is not canonical base64url")
    return urlsafe_b64decode(part + _PADDING[rest])


def _object(raw: bytes, where: str) -> dict[str, Any]:
    try:
        text = raw.decode("utf-8")
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
        _check_signs(text, value)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"{where} is not JSON with one reading: {error}") from None
    if not isinstance(value, dict):
        raise Malformed(f"{where} is not a JSON object")
    if raw.count(b"{") + raw.count(b"[") > _MAX_DEPTH:  # fewer cannot be deeper
        _check_depth(value, where)
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


def _check_signs(text: str, value: Any) -> None:
    if "\\u" in text and _HALF_A_SIGN.search(json.dumps(value, ensure_ascii=False)):
        raise ValueError("half of a surrogate pair")


def _check_depth(value: Any, where: str, depth: int = 1) -> None:
    if depth > _MAX_DEPTH:
        raise Malformed(f"{where} is nested deeper than {_MAX_DEPTH}")
    for child in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_depth(child, where, depth + 1)
