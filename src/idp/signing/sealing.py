"""Keys made from the root secret by HKDF (RFC 5869), one label each (C-06c), and sealing with them (RFC 7516)."""

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from joserfc.util import urlsafe_b64decode

from idp.settings import Secret

_ALGORITHMS = ["A256KW", "A256GCM"]


def derive(root: Secret, label: str, *, salt: bytes | None = None) -> bytes:
    """Return 32 bytes that belong to this label alone, and with a salt to those who know it."""
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=salt, info=f"idp/{label}/v1".encode()).derive(
        root.reveal().encode()
    )


class Sealer:
    """Seals small secrets with the newest root secret and opens them with any that is still live.

    Args:
        roots: root secrets, the current one first.
    """

    def __init__(self, roots: Sequence[Secret]) -> None:
        self._keys = {}
        for root in roots:
            raw = derive(root, "key-encryption")
            self._keys[hashlib.sha256(raw).hexdigest()[:16]] = OctKey.import_key(raw)
        self._current = next(iter(self._keys))

    def seal(self, secret: bytes) -> str:
        """Return the secret as a compact JWE; its `kid` says which root secret opens it."""
        header = {"alg": "A256KW", "enc": "A256GCM", "kid": self._current}
        return jwe.encrypt_compact(header, secret, self._keys[self._current], algorithms=_ALGORITHMS)

    def open(self, sealed: str) -> bytes | None:
        """Return what was sealed, None where no live root secret opens it."""
        try:
            key = self._keys[_key_id(sealed)]
            return jwe.decrypt_compact(sealed, key, algorithms=_ALGORITHMS).plaintext
        except (KeyError, JoseError, ValueError, msgspec.DecodeError):
            return None


def _key_id(sealed: str) -> str:
    header = urlsafe_b64decode(sealed.partition(".")[0].encode())
    return str(msgspec.json.decode(header, type=dict[str, Any])["kid"])
