"""The secret of a key: how it looks, and what is stored of it (C-03, C-03b).

    sk_live_ + 37 random base62 characters (220 bits) + 6 base62 characters of CRC-32 over everything before them

A secret of this strength needs no slow hash: its keyed digest is found in one look-up of a unique index. The pepper
makes the table alone worthless, even for guessing weak secrets that were imported.
"""

import hashlib
import hmac
import re
import secrets
import string
import zlib
from collections.abc import Sequence

from msgspec import Struct

from idp.settings import Secret
from idp.signing.sealing import derive

_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM, _CHECKSUM = 37, 6
_BODY = re.compile(rf"[0-9A-Za-z]{{{_RANDOM + _CHECKSUM}}}\Z")
SHOWN = 12  # characters of a key that may be shown again
LONGEST = 512  # characters; ours have 51 or 52, imported ones a few more


class Digest(Struct, frozen=True):
    """What is stored of a secret: the digest as hexadecimal, how it was made, and under which pepper."""

    hex: str
    scheme: str
    pepper: str | None


def generate(prefix: str) -> str:
    """Return a new secret.

    Args:
        prefix: what it begins with, such as `sk_live`.
    """
    body = f"{prefix}_" + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM))
    return body + _checksum(body)


def is_intact(secret: str, prefix: str) -> bool:
    """Whether a secret has our form and its checksum holds. Imported ones need have neither: this is a hint."""
    body = secret.removeprefix(f"{prefix}_")
    return bool(_BODY.match(body)) and secret[-_CHECKSUM:] == _checksum(secret[:-_CHECKSUM])


def _checksum(text: str) -> str:
    number, digits = zlib.crc32(text.encode()), ""
    for _ in range(_CHECKSUM):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits


class Peppers:
    """The keys of the digests, one from each live root secret (C-06c).

    Args:
        roots: root secrets, the current one first.
    """

    def __init__(self, roots: Sequence[Secret]) -> None:
        keys = [derive(root, "api-key-pepper") for root in roots]
        self._keys = [(hashlib.sha256(key).hexdigest()[:16], key) for key in keys]

    @property
    def current(self) -> str:
        """The id of the pepper that new digests are made with."""
        return self._keys[0][0]

    def digest(self, secret: str) -> Digest:
        """Return what to store."""
        name, key = self._keys[0]
        return Digest(_hmac(key, secret), "hmac", name)

    def possible(self, secret: str) -> list[str]:
        """Return every digest under which this secret may be stored: each pepper's, and the plain one of S2 (S2-29)."""
        plain = hashlib.sha256(secret.encode()).hexdigest()
        return [*(_hmac(key, secret) for _, key in self._keys), plain]


def _hmac(key: bytes, secret: str) -> str:
    return hmac.digest(key, secret.encode(), "sha256").hex()
