"""Keyed digests of random secrets: what is stored instead of a key, a refresh token, a cookie or a link (C-03, SEC-17).

A secret of 190 bits or more needs no slow hash: its HMAC-SHA-256 is found in one look-up of a unique index, and the
pepper, which the database does not have, makes the table alone worthless.
"""

import hashlib
import hmac
from collections.abc import Sequence

from msgspec import Struct

from idp.settings import Secret
from idp.signing.sealing import derive


class Digest(Struct, frozen=True):
    """What is stored of a secret: the digest as hexadecimal, how it was made, and under which pepper."""

    hex: str
    scheme: str
    pepper: str | None


class Peppers:
    """The keys of the digests, one from each live root secret (C-06c).

    Args:
        roots: root secrets, the current one first.
        label: what is digested; the same secret has another digest under another label.
    """

    def __init__(self, roots: Sequence[Secret], label: str) -> None:
        keys = [derive(root, label) for root in roots]
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
        """Return every digest under which this secret may be stored, the current pepper's first."""
        return [_hmac(key, secret) for _, key in self._keys]


def _hmac(key: bytes, secret: str) -> str:
    return hmac.digest(key, secret.encode(), "sha256").hex()
