"""Canonical base64url without padding (RFC 7515 section 2, RFC 4648 section 3.5; SEC-27).

The standard library takes four times as long, and a token is mostly base64url.
"""

import msgspec

_PADDING = ("", "", "==", "=")  # by length modulo 4; 1 is invalid


def encode(raw: bytes) -> str:
    """Encode bytes."""
    base64: str = msgspec.to_builtins(raw)
    return base64.rstrip("=").replace("+", "-").replace("/", "_")


def decode(text: str) -> bytes:
    """Decode a text.

    Raises:
        ValueError: it is not canonical: padding, characters of the other alphabet, white space, or non-zero unused
        bits.
    """
    padded = text.replace("-", "+").replace("_", "/") + _PADDING[len(text) % 4]
    raw: bytes = msgspec.convert(padded, bytes)  # its error is a ValueError
    if encode(raw) != text:
        raise ValueError("not canonical")
    return raw
