"""Keyed digests, stored instead of API keys, refresh tokens, cookies and links (C-03, SEC-17).

A random secret of 190 bits or more needs no slow hash: its HMAC-SHA-256 is found by one look-up in a unique index. The
pepper is not in the database, so a stolen table is useless.
"""

import hashlib
import hmac
from collections.abc import Sequence

from msgspec import Struct

from idp.settings import Secret
from idp.signing.sealing import derive


class Digest(Struct, frozen=True):
    """The stored digest of a secret: hexadecimal, with scheme and pepper id."""

    hex: str
    scheme: str
    pepper: str | None


class Peppers:
    """Computes digests under one key per live root secret (C-06c).

    Args:
        roots: root secrets, the current one first.
        label: separates uses; the same secret has different digests under different labels.
    """

    def __init__(self, roots: Sequence[Secret], label: str) -> None:
        keys = [derive(root, label) for root in roots]
        self._keys = [(hashlib.sha256(key).hexdigest()[:16], key) for key in keys]

    @property
    def current(self) -> str:
        """The id of the current pepper."""
        return self._keys[0][0]

    def digest(self, secret: str) -> Digest:
        """Return the digest to store."""
        name, key = self._keys[0]
        return Digest(_hmac(key, secret), "hmac", name)

    def possible(self, secret: str) -> list[str]:
        """Return all possible stored digests of this secret, the current pepper's first."""
        return [_hmac(key, secret) for _, key in self._keys]


def _hmac(key: bytes, secret: str) -> str:
    return hmac.digest(key, secret.encode(), "sha256").hex()
