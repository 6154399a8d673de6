"""Reading a compact JWS strictly, before anything about it is believed (RFC 7515, RFC 8725; SEC-26 to SEC-28).

JOSE libraries are lenient where a service must not be: padded or non-canonical base64url, duplicate members, invalid
UTF-8, headers of unlimited size. Whatever passes here has exactly one reading.
"""

import functools
from typing import Any

from msgspec import Struct

from idp.signing import base64url
from idp.signing.json_object import read_object

MAX_LENGTH = 8192  # characters; our own tokens take about 700
# Members that change what the rest means; we implement none of them, so they must not be there.
_REFUSED_MEMBERS = frozenset({"crit", "b64", "zip", "enc"})


class Malformed(ValueError):
    """Not a compact JWS with one reading; the text says where."""


class UnverifiedJwt(Struct, frozen=True):
    """A token whose signature nobody has checked: good for finding out whose it is, and for nothing else.

    Attributes:
        token: all of it, as it was presented.
        header: the header's members.
        claims: the payload's members.
        signed: what the signature is about: header and payload as they were presented.
        signature: its bytes.
    """

    token: str
    header: dict[str, Any]
    claims: dict[str, Any]
    signed: bytes
    signature: bytes

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
    claims = _object(parts[1], "payload")
    signature = _bytes(parts[2], "signature")
    signed = token[: -len(parts[2]) - 1].encode()
    return UnverifiedJwt(token, header, claims, signed, signature)


@functools.lru_cache(maxsize=64)
def _header(part: str) -> dict[str, Any]:
    """Return a header's members; every token of one key has the same header, which is read once."""
    header = _object(part, "header")
    if refused := _REFUSED_MEMBERS & header.keys():
        raise Malformed(f"header holds {min(refused)}")
    if str(header.get("cty", "")).lower().removeprefix("application/") == "jwt":
        raise Malformed("a token inside a token")
    return header


def _object(part: str, where: str) -> dict[str, Any]:
    raw = _bytes(part, where)
    try:
        return read_object(raw)
    except ValueError as error:
        raise Malformed(f"{where} is not JSON with one reading: {error}") from None


def _bytes(part: str, where: str) -> bytes:
    try:
        return base64url.decode(part)
    except ValueError as error:
        raise Malformed(f"{where} is not canonical base64url without padding: {error}") from None
