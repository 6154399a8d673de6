"""Strict parser of compact JWS, before verification (RFC 7515, RFC 8725; SEC-26 to SEC-28).

JOSE libraries accept padded or non-canonical base64url, duplicate members, invalid UTF-8 and headers of unlimited size.
This parser accepts only unambiguous input.
"""

import functools
from typing import Any

from msgspec import Struct

from idp.signing import base64url
from idp.signing.json_object import read_object

MAX_LENGTH = 8192  # characters; our own tokens take about 700
# Header members that change the interpretation; none is supported, so they are refused.
_REFUSED_MEMBERS = frozenset({"crit", "b64", "zip", "enc"})


class Malformed(ValueError):
    """Not an unambiguous compact JWS; the message says where."""


class UnverifiedJwt(Struct, frozen=True):
    """A parsed token with an unverified signature; use it only to find the owner of the token.

    Attributes:
        token: the complete token as presented.
        header: the header's members.
        claims: the payload's members.
        signed: the signed part, header and payload as presented.
        signature: the signature's bytes.
    """

    token: str
    header: dict[str, Any]
    claims: dict[str, Any]
    signed: bytes
    signature: bytes

    def __repr__(self) -> str:
        return "UnverifiedJwt(hidden)"


def parse(token: str, *, max_length: int = MAX_LENGTH) -> UnverifiedJwt:
    """Parse a token.

    Args:
        token: as presented.
        max_length: in characters.

    Raises:
        Malformed: it is invalid or ambiguous.
    """
    if len(token) > max_length:
        raise Malformed(f"longer than {max_length} characters")
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
    """Return a header's members; cached, because all tokens of a key have the same header."""
    header = _object(part, "header")
    if refused := _REFUSED_MEMBERS & header.keys():
        raise Malformed(f"header contains {min(refused)}")
    if str(header.get("cty", "")).lower().removeprefix("application/") == "jwt":
        raise Malformed("nested token")
    return header


def _object(part: str, where: str) -> dict[str, Any]:
    raw = _bytes(part, where)
    try:
        return read_object(raw)
    except ValueError as error:
        raise Malformed(f"{where} is not unambiguous JSON: {error}") from None


def _bytes(part: str, where: str) -> bytes:
    try:
        return base64url.decode(part)
    except ValueError as error:
        raise Malformed(f"{where} is not canonical base64url without padding: {error}") from None
