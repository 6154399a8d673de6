"""The secret of a key: its format and its stored digest (C-03, C-03b).

    sk_live_ + 37 random base62 characters (220 bits) + 6 base62 characters of CRC-32 over everything before them

A secret of this entropy needs no slow hash: its keyed digest (HMAC) is looked up in a unique index. Without the pepper,
a stolen table does not allow guessing, not even of weak secrets that were imported.
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
PREFIX_LENGTH = 12  # characters of a key that are stored and shown
MAX_LENGTH = 512  # characters; generated ones have 51 or 52, imported ones a few more


def generate(prefix: str) -> str:
    """Return a new secret.

    Args:
        prefix: such as `sk_live`.
    """
    body = f"{prefix}_" + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM))
    return body + _checksum(body)


def derived(prefix: str, raw: bytes) -> str:
    """Return a secret in the same format from 32 random or derived bytes.

    Args:
        prefix: such as `idp_cs`.
        raw: what the secret depends on; nobody else knows it.
    """
    body = f"{prefix}_{raw.hex()[:_RANDOM]}"
    return body + _checksum(body)


def is_intact(secret: str, prefix: str) -> bool:
    """Whether a secret has the format above and a valid checksum. Only a hint: imported secrets may have neither."""
    body = secret.removeprefix(f"{prefix}_")
    return bool(_BODY.match(body)) and secret[-_CHECKSUM:] == _checksum(secret[:-_CHECKSUM])


def _checksum(text: str) -> str:
    number, digits = zlib.crc32(text.encode()), ""
    for _ in range(_CHECKSUM):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits


class Peppers(peppers.Peppers):
    """Computes digests of API keys and service tokens, with HMAC keys derived from the root secrets.

    Args:
        roots: root secrets, the current one first.
    """

    def __init__(self, roots: Sequence[Secret]) -> None:
        super().__init__(roots, "api-key-pepper")

    def possible(self, secret: str) -> list[str]:
        """Return every possible stored digest of a secret: with each pepper, and the plain SHA-256 of S2 (S2-29)."""
        return [*super().possible(secret), hashlib.sha256(secret.encode()).hexdigest()]
