"""Reading a compact JWS strictly, before anything about it is believed (RFC 7515, RFC 8725; SEC-26 to SEC-28).

Its parts have one spelling each; what the JSON inside them must be says `json_object`.
"""

from typing import Any

import msgspec
from msgspec import Struct

from idp_client.json_object import Malformed, read_object

_REMEMBERED_HEADERS = 64
# Members that change what the rest means; none of them is implemented, so none may be there.
_REFUSED_MEMBERS = frozenset({"crit", "b64", "zip", "enc"})
_DOT, _PLUS, _SLASH, _EQUALS = b".+/="  # as numbers, which bytes find seven times as fast as bytes
_PADDING = ("", "", "==", "=")
# The last characters whose unused bits are zero, by length modulo 4; a length of 1 modulo 4 cannot be (RFC 4648 3.5).
_LAST = (bytes(range(256)), b"", b"AQgw", b"AEIMQUYcgkosw048")


class NotThreeParts(Malformed):
    """Not a compact JWS at all."""


class Header(Struct, frozen=True, gc=False):
    """What a header says about the signature. `jwk`, `jku`, `x5u`, `x5c` are not even read (SEC-21)."""

    alg: Any
    kid: Any
    typ: Any


class UnverifiedJwt(Struct, frozen=True, gc=False):
    """A token whose signature is not checked yet."""

    header: Header
    payload: bytes
    signing_input: bytes
    signature: bytes
    encoded_header: bytes

    def __repr__(self) -> str:
        return "UnverifiedJwt(hidden)"


class Parser:
    """Takes tokens apart, and remembers the headers that its owner found good: one per signing key."""

    def __init__(self) -> None:
        self._headers: dict[bytes, Header] = {}

    def parse(self, token: bytes) -> UnverifiedJwt:
        """Take a token apart.

        Args:
            token: at most MAX_LENGTH bytes.

        Raises:
            NotThreeParts: it has not the form of a JWS.
            Malformed: a part has another spelling than the one, or the header is not what it must be.
        """
        signing_input, _, third = token.rpartition(b".")
        first, dot, second = signing_input.partition(b".")
        if not dot or _DOT in second:
            raise NotThreeParts("not three parts")
        header = self._headers.get(first) or _read_header(first)
        payload, signature = _base64url(second, "payload"), _base64url(third, "signature")
        return UnverifiedJwt(header, payload, signing_input, signature, first)

    def remember(self, jwt: UnverifiedJwt) -> None:
        """Keep the header of a token that verified, and no other, so that a flood of headers pushes none out."""
        if jwt.encoded_header not in self._headers:
            if len(self._headers) >= _REMEMBERED_HEADERS:
                self._headers.clear()
            self._headers[jwt.encoded_header] = jwt.header


def _read_header(encoded: bytes) -> Header:
    members = read_object(_base64url(encoded, "header"))
    if refused := _REFUSED_MEMBERS & members.keys():
        raise Malformed(f"header holds {min(refused)}")
    if str(members.get("cty", "")).lower().removeprefix("application/") == "jwt":
        raise Malformed("a token inside a token")
    return Header(alg=members.get("alg"), kid=members.get("kid"), typ=members.get("typ"))


def _base64url(encoded: bytes, where: str) -> bytes:
    if _PLUS in encoded or _SLASH in encoded or _EQUALS in encoded:
        raise Malformed(f"{where} is not base64url without padding")
    if encoded and encoded[-1] not in _LAST[len(encoded) % 4]:
        raise Malformed(f"{where} is not canonical base64url")
    base64 = encoded.replace(b"-", b"+").replace(b"_", b"/").decode() + _PADDING[len(encoded) % 4]
    try:
        return msgspec.convert(base64, bytes)  # strict, and half the price of the standard library's
    except msgspec.ValidationError:
        raise Malformed(f"{where} is not base64url") from None
