"""Signing keys and compact tokens of the issuer for tests, written byte by byte, so that bad ones can be written, too.

The keys live in memory and sign nothing but tests.
"""

import json
from base64 import urlsafe_b64encode
from typing import Any, Literal

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from joserfc.jwk import ECKey, RSAKey

Algorithm = Literal["ES256", "RS256"]


class SigningKey:
    """A key pair of a test.

    Args:
        algorithm: ES256 or RS256; an RSA key takes some tenths of a second to generate.
    """

    def __init__(self, algorithm: Algorithm = "ES256") -> None:
        self.algorithm = algorithm
        key: ECKey | RSAKey = ECKey.generate_key("P-256") if algorithm == "ES256" else RSAKey.generate_key(2048)
        self.kid = key.thumbprint()
        self.jwk: dict[str, Any] = {
            **key.as_dict(private=False), "kid": self.kid, "use": "sig", "alg": algorithm
        }  # fmt: skip
        self._private = key.private_key

    def __repr__(self) -> str:
        return f"SigningKey({self.algorithm}, {self.kid})"

    def sign(self, signing_input: bytes) -> bytes:
        """Return the signature (RFC 7518 sections 3.3 and 3.4)."""
        if isinstance(self._private, ec.EllipticCurvePrivateKey):
            r, s = decode_dss_signature(self._private.sign(signing_input, ec.ECDSA(hashes.SHA256())))
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")
        assert isinstance(self._private, rsa.RSAPrivateKey)
        return self._private.sign(signing_input, padding.PKCS1v15(), hashes.SHA256())


def base64url(raw: bytes) -> str:
    """Return base64url without padding (RFC 7515 section 2)."""
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def json_bytes(value: Any) -> bytes:
    """Return compact JSON; bytes stay as they are."""
    return value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
