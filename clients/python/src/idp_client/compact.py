"""A strict parser of compact JWS (RFC 7515, RFC 8725; SEC-26 to SEC-28). Nothing is verified here.

Only canonical base64url is accepted; the rules for the JSON are in `json_object`.
"""

from typing import Any

import msgspec
from msgspec import Struct

from idp_client.json_object import Malformed, read_object

_MAX_CACHED_HEADERS = 64
# Members that change the meaning of the token; they are not supported and therefore refused.
_REFUSED_MEMBERS = frozenset({"crit", "b64", "zip", "enc"})
_DOT, _PLUS, _SLASH, _EQUALS = b".+/="  # integers: `in` is seven times as fast with them as with bytes
_PADDING = ("", "", "==", "=")
# Last characters with zero unused bits, by length modulo 4; a remainder of 1 is impossible (RFC 4648 section 3.5).
_LAST = (bytes(range(256)), b"", b"AQgw", b"AEIMQUYcgkosw048")


class NotThreeParts(Malformed):
    """Not a compact JWS."""


class Header(Struct, frozen=True, gc=False):
    """The header members that are used. `jwk`, `jku`, `x5u` and `x5c` are ignored (SEC-21)."""

    alg: Any
    kid: Any
    typ: Any


class UnverifiedJwt(Struct, frozen=True, gc=False):
    """A parsed token with an unverified signature."""

    header: Header
    payload: bytes
    signing_input: bytes
    signature: bytes
    encoded_header: bytes

    def __repr__(self) -> str:
        return "UnverifiedJwt(hidden)"


class Parser:
    """Parses tokens, and caches the headers of verified tokens: one for each signing key."""

    def __init__(self) -> None:
        self._headers: dict[bytes, Header] = {}

    def parse(self, token: bytes) -> UnverifiedJwt:
        """Parse a token.

        Args:
            token: at most MAX_LENGTH bytes.

        Raises:
            NotThreeParts: it is not a compact JWS.
            Malformed: a part is not canonical, or the header is invalid.
        """
        signing_input, _, third = token.rpartition(b".")
        first, dot, second = signing_input.partition(b".")
        if not dot or _DOT in second:
            raise NotThreeParts("not three parts")
        header = self._headers.get(first) or _read_header(first)
        payload, signature = _base64url(second, "payload"), _base64url(third, "signature")
        return UnverifiedJwt(header, payload, signing_input, signature, first)

    def remember(self, jwt: UnverifiedJwt) -> None:
        """Cache the header of a verified token; others are not cached, so that attackers cannot evict entries."""
        if jwt.encoded_header not in self._headers:
            if len(self._headers) >= _MAX_CACHED_HEADERS:
                self._headers.clear()
            self._headers[jwt.encoded_header] = jwt.header


def _read_header(encoded: bytes) -> Header:
    members = read_object(_base64url(encoded, "header"))
    if refused := _REFUSED_MEMBERS & members.keys():
        raise Malformed(f"header contains {min(refused)}")
    if str(members.get("cty", "")).lower().removeprefix("application/") == "jwt":
        raise Malformed("nested token")
    return Header(alg=members.get("alg"), kid=members.get("kid"), typ=members.get("typ"))


def _base64url(encoded: bytes, where: str) -> bytes:
    if _PLUS in encoded or _SLASH in encoded or _EQUALS in encoded:
        raise Malformed(f"{where} is not base64url without padding")
    if encoded and encoded[-1] not in _LAST[len(encoded) % 4]:
        raise Malformed(f"{where} is not canonical base64url")
    base64 = encoded.replace(b"-", b"+").replace(b"_", b"/").decode() + _PADDING[len(encoded) % 4]
    try:
        return msgspec.convert(base64, bytes)  # strict, and twice as fast as the standard library
    except msgspec.ValidationError:
        raise Malformed(f"{where} is not base64url") from None
