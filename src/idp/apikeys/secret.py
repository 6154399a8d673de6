"""Secrets of keys: format, checksum and stored digest (C-03, C-03b).

    sk_live_ + 37 random base62 characters (220 bits) + 6 base62 characters of CRC-32 over everything before them

A random secret of this length needs no slow hash: its keyed digest is found by one look-up in a unique index. Without
the pepper a stolen table is useless, even for guessing weak imported secrets.
"""

import hashlib
import re
import secrets
import string
import zlib
from collections.abc import Sequence

from idp.settings import Secret
from idp.signing import peppers

_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM, _CHECKSUM = 37, 6
_BODY = re.compile(rf"[0-9A-Za-z]{{{_RANDOM + _CHECKSUM}}}\Z")
SHOWN = 12  # characters of a key that may be shown later
LONGEST = 512  # characters; ours have 51 or 52


def generate(prefix: str) -> str:
    """Return a new secret.

    Args:
        prefix: such as `sk_live`.
    """
    body = f"{prefix}_" + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM))
    return body + _checksum(body)


def is_intact(secret: str, prefix: str) -> bool:
    """Whether a secret has our format and a valid checksum. Only a hint: imported secrets have neither."""
    body = secret.removeprefix(f"{prefix}_")
    return bool(_BODY.match(body)) and secret[-_CHECKSUM:] == _checksum(secret[:-_CHECKSUM])


def _checksum(text: str) -> str:
    number, digits = zlib.crc32(text.encode()), ""
    for _ in range(_CHECKSUM):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits


class Peppers(peppers.Peppers):
    """Digests of API keys and service tokens.

    Args:
        roots: root secrets, the current one first.
    """

    def __init__(self, roots: Sequence[Secret]) -> None:
        super().__init__(roots, "api-key-pepper")

    def possible(self, secret: str) -> list[str]:
        """Return all possible stored digests of this secret: one per pepper, and the plain one of S2 (S2-29)."""
        return [*super().possible(secret), hashlib.sha256(secret.encode()).hexdigest()]
