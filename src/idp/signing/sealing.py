"""Key derivation from the root secret by HKDF (RFC 5869; C-06c), and encryption with the derived keys (RFC 7516)."""

import hashlib
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from joserfc.util import urlsafe_b64decode

from idp.settings import Secret

Purpose = Literal[
    "signing-key", "mail", "idempotent-answer", "webhook", "id-token", "logout", "draft", "totp", "totp-enrolment"
]
_ALGORITHMS = ["A256KW", "A256GCM"]


def derive(root: Secret, label: str, *, salt: bytes | None = None) -> bytes:
    """Derive a 32-byte key for a label, optionally with a salt."""
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=salt, info=f"idp/{label}/v1".encode()).derive(
        root.reveal().encode()
    )


class Sealer:
    """Encrypts small secrets under the current root secret, and decrypts them with any live one.

    The purpose is part of the protected header, which is the associated data of the encryption (RFC 7516 section 5.1):
    a value copied to another table does not decrypt there.

    Args:
        roots: root secrets, the current one first.
    """

    def __init__(self, roots: Sequence[Secret]) -> None:
        self._keys = {}
        for root in roots:
            raw = derive(root, "key-encryption")
            self._keys[hashlib.sha256(raw).hexdigest()[:16]] = OctKey.import_key(raw)
        self._current = next(iter(self._keys))

    def seal(self, secret: bytes, *, purpose: Purpose) -> str:
        """Encrypt a secret as a compact JWE; `kid` identifies the root secret, `typ` the purpose."""
        header = {"alg": "A256KW", "enc": "A256GCM", "kid": self._current, "typ": purpose}
        return jwe.encrypt_compact(header, secret, self._keys[self._current], algorithms=_ALGORITHMS)

    def is_current(self, sealed: str) -> bool:
        """Whether a value is encrypted under the current root secret."""
        try:
            header = msgspec.json.decode(urlsafe_b64decode(sealed.partition(".")[0].encode()), type=dict[str, Any])
        except (ValueError, msgspec.DecodeError):
            return False
        return header.get("kid") == self._current

    def open(self, sealed: str, *, purpose: Purpose) -> bytes | None:
        """Decrypt a secret; None if no live root secret decrypts it, or it has another purpose.

        Values of version 1.0.0 have no purpose and decrypt for any.
        """
        try:
            header = msgspec.json.decode(urlsafe_b64decode(sealed.partition(".")[0].encode()), type=dict[str, Any])
            if header.get("typ", purpose) != purpose:
                return None
            return jwe.decrypt_compact(sealed, self._keys[header["kid"]], algorithms=_ALGORITHMS).plaintext
        except (KeyError, TypeError, JoseError, ValueError, msgspec.DecodeError):
            return None
